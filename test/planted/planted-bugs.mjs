// Deliberate defects, each an edit of one source file, and what of the tests catches it. `npm run test:planted` switches
// on one after the other; `planted-bugs.spec.ts` sees to it that every edit still finds its text.
//
// In JavaScript, because Jest's transformer reads it before there is anything that could compile TypeScript.

/** @type {import('./planted-bugs.mjs').PlantedBug[]} */
export const PLANTED_BUGS = [
  // ── What has to be on stable storage before something else may happen ──
  {
    name: 'directory-not-synced',
    file: 'src/log/segment-files.ts',
    find: 'await this.device.syncDirectory();',
    replace: '',
    why: 'A new segment may be gone after a power cut, with the commits in it that were acknowledged.',
    caughtBy: [{ spec: 'test/crash.spec.ts', test: 'always a store with values that spill' }],
  },
  {
    name: 'manifest-before-its-data',
    file: 'src/store/manifest.ts',
    find: 'await file.sync();',
    replace: '',
    why: 'The new name may be durable before the bytes: a manifest of zeros.',
    caughtBy: [{ spec: 'test/compaction-boundaries.spec.ts' }],
  },
  {
    name: 'manifest-rename-not-synced',
    file: 'src/store/manifest.ts',
    find: 'await device.syncDirectory();',
    replace: '',
    why: 'The old manifest may come back when the segments that it names are gone.',
    caughtBy: [{ spec: 'test/compaction-boundaries.spec.ts' }],
  },
  {
    name: 'dictionary-not-synced',
    file: 'src/store/dictionary.ts',
    find: `    this.file.syncSync();
    this.end += bytes.length;`,
    replace: '    this.end += bytes.length;',
    why: 'Records refer to namespaces and structures that a power cut has taken.',
    caughtBy: [{ spec: 'test/crash.spec.ts', test: 'always a store with small values' }],
  },
  {
    name: 'acknowledged-before-sync',
    file: 'src/store/group-commit.ts',
    find: 'await this.sync(segments);',
    replace: 'void this.sync(segments).catch(() => undefined);',
    why: 'A write is acknowledged that a power cut takes back.',
    caughtBy: [{ spec: 'test/crash.spec.ts', test: 'always' }],
  },
  {
    name: 'durable-write-that-is-none',
    file: 'src/device/file-device.ts',
    find: 'this.fs.openDurable(file.descriptor)',
    replace: 'this.fs.open(file.path, { create: false })',
    why: 'No sync follows such a write: what it acknowledges may be lost.',
    caughtBy: [{ spec: 'src/device/device.spec.ts' }, { spec: 'test/crash.spec.ts', test: 'always' }],
  },
  {
    name: 'lengthened-by-the-way',
    file: 'src/log/segment-files.ts',
    find: `      this.unsynced.add(file);
      this.length = end + bytes;`,
    replace: '      this.length = end + bytes;',
    why: 'Every commit would have to wait for the journal of the file system, as if nothing had been lengthened.',
    caughtBy: [{ spec: 'src/log/segment-files.spec.ts' }],
  },
  {
    name: 'joined-a-commit-under-way',
    file: 'src/store/group-commit.ts',
    find: 'return (this.queued ??= this.startNext());',
    replace: 'return this.running ?? (this.queued ??= this.startNext());',
    why: 'A commit that has begun does not cover what is written behind its commit record.',
    caughtBy: [{ spec: 'src/store/group-commit.spec.ts' }],
  },
  {
    name: 'truncated-before-the-cold-commit',
    file: 'src/store/compactor.ts',
    find: `    await this.commitCold(false);
    await commits.commit();
    await this.replaceManifest('hot', passed);`,
    replace: `    await commits.commit();
    await this.replaceManifest('hot', passed);`,
    why: 'The hot log is given up while its copies in the cold one may still be lost.',
    caughtBy: [{ spec: 'test/compaction-boundaries.spec.ts' }],
  },
  {
    name: 'truncated-before-the-hot-commit',
    file: 'src/store/compactor.ts',
    find: `    await this.commitCold(false);
    await commits.commit();
    await this.replaceManifest('hot', passed);`,
    replace: `    await this.commitCold(false);
    await this.replaceManifest('hot', passed);`,
    why: 'Old versions are given up for newer ones that are not durable yet.',
    caughtBy: [{ spec: 'test/compaction-boundaries.spec.ts', test: 'beside writes' }],
  },
  {
    name: 'cold-truncated-before-the-hot-commit',
    file: 'src/store/compactor.ts',
    find: `    // Records that newer ones in the hot log cover were left behind.
    await commits.commit();`,
    replace: '',
    why: 'Cold records are given up for newer ones in the hot log that are not durable yet.',
    caughtBy: [{ spec: 'test/compaction-boundaries.spec.ts', test: 'beside writes' }],
  },
  {
    name: 'segments-removed-before-the-manifest',
    file: 'src/store/compactor.ts',
    find: "    await this.replaceManifest('hot', passed);",
    replace: `    await this.removeSegments(segments, end);
    await this.replaceManifest('hot', passed);`,
    why: 'A crash in between leaves a manifest that names files which are gone.',
    caughtBy: [{ spec: 'test/compaction-boundaries.spec.ts', test: 'alone' }],
  },
  {
    name: 'checkpoint-before-its-covering-commit',
    file: 'src/store/checkpointer.ts',
    find: `      // Makes durable whatever came into the hot index on the way.
      await commits.commit();`,
    replace: '',
    why: 'The index in it points to records that a power cut takes, at addresses that others get.',
    caughtBy: [{ spec: 'test/checkpoint-trust.spec.ts' }],
  },
  {
    name: 'checkpoint-not-synced',
    file: 'src/store/checkpoint-file.ts',
    find: 'await this.file.sync();',
    replace: '',
    why: 'The manifest names a checkpoint whose bytes may be gone; what only the one before had is removed.',
    caughtBy: [{ spec: 'test/checkpoint-trust.spec.ts' }],
  },
  {
    name: 'recovered-tail-not-hardened',
    file: 'src/store/recovery.ts',
    find: 'if (!recovered.report.clean) await this.segments.harden(this.syncedEnd(), this.lastEnd);',
    replace: '',
    why: 'What was read back after a kill is only in the memory of the operating system.',
    caughtBy: [{ spec: 'test/disk-failures.spec.ts' }],
  },

  {
    name: 'recovered-dictionary-trusted',
    file: 'src/store/dictionary.ts',
    find: 'if (this.entries > entries) this.load(entries);',
    replace: '',
    why: 'An entry that was read back after a kill is relied on, and only in the memory of the operating system.',
    caughtBy: [{ spec: 'test/disk-failures.spec.ts', test: 'a dictionary that was written' }],
  },
  {
    name: 'writers-pile-up',
    file: 'src/store/compaction-scheduler.ts',
    find: 'if (this.waiters === MAX_WAITING) return undefined;',
    replace: '',
    why: 'Callers who do not await fill the memory with promises while compaction is behind.',
    caughtBy: [{ spec: 'test/compaction-schedule.spec.ts', test: 'do not pile up' }],
  },
  {
    name: 'unsynced-cold-commit-taken-for-settled',
    file: 'src/store/compactor.ts',
    find: 'if (!this.parts.cold.log.isDurable) await this.commitCold(false);',
    replace: 'if (this.parts.cold.log.log.hasUncommitted) await this.commitCold(false);',
    why: 'A commit of the cold log that failed is never written; the checkpoint has what it would have covered.',
    caughtBy: [{ spec: 'test/checkpoint-trust.spec.ts', test: 'compaction that failed' }],
  },
  {
    name: 'chunks-followed-page-by-page',
    file: 'src/cold/chunk-log.ts',
    find: 'const stop = await scanSegment(segments, log.begin, (words, at, address) => {',
    replace: `const stop = await scanSegment(segments, log.begin, (words, at, address) => {
      if (Math.floor(address / this.pageSize) < Math.floor((address + totalBytes(words, at) - 1) / this.pageSize))
        throw this.damaged(address);`,
    why: 'A store that is opened with pages of another size takes its own checkpoint for damaged.',
    caughtBy: [{ spec: 'test/checkpoint-trust.spec.ts', test: 'other pages' }],
  },

  // ── Failures of the disk ──
  {
    name: 'failed-sync-swallowed',
    file: 'src/store/group-commit.ts',
    find: `      this.parts.health.fail(error);
      throw this.parts.health.failure ?? error;`,
    replace: '      void error;',
    why: 'After a failed sync the bytes are gone, and the write is acknowledged.',
    caughtBy: [{ spec: 'test/disk-failures.spec.ts', test: 'at a %?(sync|write)' }],
  },
  {
    name: 'failed-sync-tried-again',
    file: 'src/log/segment-files.ts',
    find: '...files.map((file) => file.sync())',
    replace: '...files.map((file) => file.sync().catch(() => file.sync()))',
    why: 'The second sync succeeds although the first has lost the bytes.',
    caughtBy: [{ spec: 'test/disk-failures.spec.ts', test: 'sync' }],
  },
  {
    name: 'failed-cold-sync-forgotten',
    file: 'src/cold/cold-log.ts',
    find: 'this.syncing = this.syncing.then(async () => {',
    replace: 'this.syncing = this.syncing.catch(() => undefined).then(async () => {',
    why: 'A sync ahead of the commit has lost bytes; the one of the commit succeeds without them.',
    caughtBy: [{ spec: 'src/cold/cold-log.spec.ts' }],
  },
  {
    name: 'full-at-a-sync-taken-for-harmless',
    file: 'src/store/health.ts',
    find: "return error instanceof KvDiskError && error.full && error.operation !== 'sync';",
    replace: 'return error instanceof KvDiskError && error.full;',
    why: 'A sync that fails for want of room has lost bytes like any other that fails.',
    caughtBy: [{ spec: 'test/tier-failures.spec.ts', test: 'ENOSPC at every call of a compaction, once' }],
  },
  {
    name: 'every-failed-write-taken-for-a-full-disk',
    file: 'src/store/health.ts',
    find: 'if ((error instanceof KvDiskError && error.full) || error instanceof KvOverloadedError) {',
    replace: 'if (error instanceof KvDiskError || error instanceof KvOverloadedError) {',
    why: 'After an EIO nobody knows which bytes are on the disk, and writes go on.',
    caughtBy: [{ spec: 'test/disk-failures.spec.ts', test: 'write' }],
  },
  {
    name: 'short-write-ignored',
    file: 'src/device/file-device.ts',
    find: `        const count = await this.fs.write(this.fd, buffer, offset + done, bytes, position + done);
        if (count === 0) throw systemError('EIO', 'write');
        done += count;`,
    replace: `        await this.fs.write(this.fd, buffer, offset + done, bytes, position + done);
        done += bytes;`,
    why: 'The rest of the bytes, and the error behind the short count, are never heard of.',
    caughtBy: [{ spec: 'src/device/device.spec.ts' }, { spec: 'test/disk-failures.spec.ts' }],
  },

  // ── Damage ──
  {
    name: 'record-read-unchecked',
    file: 'src/log/hybrid-log.ts',
    find: 'if (!isIntact(record.words, 0, record.available, address, this.segments.salt)) {',
    replace: 'if (record.available < totalBytes(record.words, 0)) {',
    why: 'Damaged bytes are served as a value.',
    caughtBy: [{ spec: 'src/log/hybrid-log.spec.ts' }],
  },
  {
    name: 'record-read-at-once-unchecked',
    file: 'src/log/hybrid-log.ts',
    find: 'if (isIntact(record.words, 0, available, address, this.segments.salt)) return record;',
    replace: 'if (available >= totalBytes(record.words, 0)) return record;',
    why: 'Damaged bytes are served as a value.',
    caughtBy: [{ spec: 'test/reference-defects.spec.ts', test: 'a corrupt record' }],
  },
  {
    name: 'scan-unchecked',
    file: 'src/log/scan.ts',
    find: 'isIntact(words, at, available - at * 4, address, segments.salt)\n    ) {',
    replace: `(words[at + 1] & KIND_MASK) !== 0 &&
      words[at + 2] >= 0 &&
      totalBytes(words, at) > 0 &&
      totalBytes(words, at) <= available - at * 4
    ) {`,
    why: 'Recovery takes damaged records into the index.',
    caughtBy: [{ spec: 'src/log/scan.spec.ts' }, { spec: 'src/store/recovery.spec.ts' }],
  },
  {
    name: 'compaction-cursor-unchecked',
    file: 'src/log/log-cursor.ts',
    find: 'if (!isIntact(this.words, at, available, this.position, this.segments.salt)) return false;',
    replace: 'if (totalBytes(this.words, at) > available) return false;',
    why: 'Compaction copies damaged records, with a checksum that is right again.',
    caughtBy: [{ spec: 'test/compaction-failures.spec.ts' }],
  },
  {
    name: 'chunk-unchecked',
    file: 'src/cold/chunk-log.ts',
    find: 'if (isIntact(words, 0, available, address, this.segments.salt)) {',
    replace: 'if (available >= totalBytes(words, 0)) {',
    why: 'A damaged chunk of the cold index says that keys are not there.',
    caughtBy: [{ spec: 'src/cold/chunk-log.spec.ts' }],
  },
  {
    name: 'lost-slot-answered',
    file: 'src/cold/cold-index.ts',
    find: 'this.pending.has(hashLow, tag) || this.isLost(slot)',
    replace: 'this.pending.has(hashLow, tag)',
    why: 'While a damaged chunk is made anew, what it has is answered as "not there".',
    caughtBy: [{ spec: 'test/index-mending.spec.ts', test: 'however late' }],
  },
  {
    name: 'manifest-unchecked',
    file: 'src/store/manifest.ts',
    find: 'if (checksum !== textChecksum(json)) return undefined;',
    replace: 'void checksum;',
    why: 'A log begins where a flipped bit says.',
    caughtBy: [{ spec: 'src/store/manifest.spec.ts' }],
  },
  {
    name: 'dictionary-unchecked',
    file: 'src/store/dictionary.ts',
    find: "if (line.toString('latin1', 0, CRC_CHARACTERS) !== textChecksum(json)) return undefined;",
    replace: '',
    why: 'Values come back with names of other fields.',
    caughtBy: [{ spec: 'src/store/dictionary.spec.ts' }],
  },
  {
    name: 'checkpoint-table-unchecked',
    file: 'src/store/table.ts',
    find: 'json && crc32(json) === footer.readUInt32LE(4) ?',
    replace: 'json ?',
    why: 'A damaged checkpoint is taken for one.',
    caughtBy: [{ spec: 'test/checkpoint-trust.spec.ts' }],
  },
  {
    name: 'checkpoint-block-unchecked',
    file: 'src/store/checkpoint-file.ts',
    find: 'if (crc32(block) !== checksum) return undefined;',
    replace: 'void checksum;',
    why: 'The index points to other records, or to none.',
    caughtBy: [{ spec: 'test/checkpoint-trust.spec.ts' }],
  },
  {
    name: 'torn-footer-taken-for-a-table',
    file: 'src/store/table.ts',
    find: 'if (length === 0) return undefined;',
    replace: '',
    why: 'A store cannot be opened where a power cut has kept the end of a hint alone.',
    caughtBy: [{ spec: 'test/hints.spec.ts', test: 'a part of its end' }],
  },
  {
    name: 'hint-before-its-sync',
    file: 'src/store/group-commit.ts',
    find: 'this.parts.hints?.committed(this.number, end);',
    replace: `this.parts.hints?.committed(this.number, end);
    this.parts.hints?.synced();`,
    why: 'A hint says that a commit is on stable storage which a power cut takes: the store is refused.',
    caughtBy: [{ spec: 'test/hints.spec.ts', test: 'cut off' }],
  },
  {
    name: 'hint-of-more-than-its-commit',
    file: 'src/store/hints.ts',
    find: 'this.writing = this.write(prepared)',
    replace: 'this.writing = this.write({ ...prepared, rows: rows.count })',
    why: 'The index points to records that a power cut takes.',
    caughtBy: [{ spec: 'test/hints.spec.ts', test: 'cut off' }],
  },
  {
    name: 'hint-rows-unchecked',
    file: 'src/store/hint-file.ts',
    find: 'if (crc32(bytes) !== checksum) return undefined;',
    replace: 'void checksum;',
    why: 'The index points to other records, or to none.',
    caughtBy: [{ spec: 'test/hints.spec.ts', test: 'any damage' }],
  },
  {
    name: 'hints-that-do-not-connect',
    file: 'src/store/open-hints.ts',
    find: 'if (hint && hint.state.from <= end && hint.state.hot.end > end) {',
    replace: 'if (hint && hint.state.hot.end > end) {',
    why: 'What a hint that is missing has had is in no index.',
    caughtBy: [{ spec: 'test/hints.spec.ts', test: 'is missing' }],
  },
  {
    name: 'late-entries-passed-over',
    file: 'src/hot/hash-index.ts',
    find: `    if (this.late) this.takeLate(hashLow);
    const tag`,
    replace: '    const tag',
    why: 'Right after an opening keys are not there, and new records do not lead to older ones.',
    caughtBy: [{ spec: 'src/hot/late-rows.spec.ts' }, { spec: 'test/hints.spec.ts' }],
  },
  {
    name: 'late-entries-over-newer-ones',
    file: 'src/hot/hash-index.ts',
    find: `    if (this.find(hashLow) < address) this.put(hashLow, address, sizeClass);`,
    replace: `    this.find(hashLow);
    this.put(hashLow, address, sizeClass);`,
    why: 'A hint that begins before the checkpoint puts older records in the place of newer ones.',
    caughtBy: [{ spec: 'src/hot/late-rows.spec.ts' }],
  },
  {
    name: 'damage-taken-for-absence',
    file: 'src/store/read-path.ts',
    find: 'if (mended || !this.isMendable(error)) throw error;',
    replace: 'return { record: undefined, source: FROM_MEMORY, where, address, truncations };',
    why: 'What cannot be read is answered as "not there".',
    caughtBy: [{ spec: 'test/reference-defects.spec.ts' }],
  },
  {
    name: 'torn-tail-taken-for-damage',
    file: 'src/store/recovery.ts',
    find: 'if (knownSynced <= this.lastNumber) return;',
    replace: 'if (knownSynced <= this.lastNumber && stop === this.lastEnd) return;',
    why: 'A store cannot be opened after an ordinary crash.',
    caughtBy: [{ spec: 'src/store/recovery.spec.ts', test: 'torn tail' }],
  },
  {
    name: 'damage-taken-for-a-torn-tail',
    file: 'src/store/recovery.ts',
    find: 'if (knownSynced <= this.lastNumber) return;',
    replace: 'if (knownSynced <= Infinity) return;',
    why: 'Good commits behind a damaged place are cut off without a word.',
    caughtBy: [{ spec: 'src/store/recovery.spec.ts' }],
  },
  {
    name: 'commit-number-unchecked',
    file: 'src/store/recovery.ts',
    find: 'commit.number === this.lastNumber + 1 &&',
    replace: '',
    why: 'A commit of another history goes on where this one ended.',
    caughtBy: [{ spec: 'src/store/recovery.spec.ts' }],
  },
  {
    name: 'range-sum-unchecked',
    file: 'src/store/recovery.ts',
    find: `      commit.previousEnd === this.lastEnd &&
      commit.rangeSum === this.rangeSum;`,
    replace: '      commit.previousEnd === this.lastEnd;',
    why: 'An intact record of an older state of the range passes for one of the commit.',
    caughtBy: [{ spec: 'src/store/recovery.spec.ts' }],
  },

  // ── What may have changed across an await ──
  {
    name: 'absence-not-looked-at-again',
    file: 'src/store/read-path.ts',
    find: 'if (!found && truncations !== this.truncations) continue;',
    replace: '',
    why: 'A record that moved while it was looked for is answered as "not there".',
    caughtBy: [{ spec: 'src/store/read-path.spec.ts' }],
  },
  {
    name: 'failed-read-not-looked-at-again',
    file: 'src/store/read-path.ts',
    find: 'if (truncations !== this.truncations) continue;',
    replace: 'if (truncations !== this.truncations) throw error;',
    why: 'A read fails because compaction has removed the file that it was about to read.',
    caughtBy: [{ spec: 'test/moved-meanwhile.spec.ts' }],
  },
  {
    name: 'cold-truncation-not-counted',
    file: 'src/store/compactor.ts',
    find: `    cold.log.log.truncate(end);
    reads.truncations++;`,
    replace: '    cold.log.log.truncate(end);',
    why: 'Readers under way do not notice that their record has moved within the cold log.',
    caughtBy: [{ spec: 'test/moved-meanwhile.spec.ts' }],
  },
  {
    name: 'update-of-an-address-that-changed',
    file: 'src/store/look-up.ts',
    find: 'if (reads.address !== seen.address) return false;',
    replace: '',
    why: 'Of two increments one is lost.',
    caughtBy: [{ spec: 'test/interleavings.spec.ts' }],
  },
  {
    name: 'update-of-a-version-that-changed',
    file: 'src/store/look-up.ts',
    find: 'return where !== IN_MEMORY || sequenceOf(reads.words, reads.at) === version;',
    replace: 'return true;',
    why: 'A record that was changed in place has the same address: of two increments one is lost.',
    caughtBy: [{ spec: 'test/update.spec.ts' }],
  },
  {
    name: 'insert-of-a-key-that-moved',
    file: 'src/store/look-up.ts',
    find: 'if (where === ABSENT) return reads.truncations === seen.truncations;',
    replace: 'if (where === ABSENT) return true;',
    why: 'A key that was written and compacted meanwhile is not in the hot log, as it was not before.',
    caughtBy: [{ spec: 'test/reference-defects.spec.ts', test: 'read-modify-write' }],
  },
  {
    name: 'large-copy-that-nobody-wants',
    file: 'src/store/record-copier.ts',
    find: 'if (!isWanted()) return false;',
    replace: '',
    why: 'A value that was overwritten while its pieces were copied is entered into the cold index.',
    caughtBy: [{ spec: 'test/moved-meanwhile.spec.ts' }],
  },
  {
    name: 'read-cache-filled-with-an-old-value',
    file: 'src/store/read-path.ts',
    find: 'if (same && (where === ABSENT || this.address === address)) this.keep(key, found);',
    replace: 'void same;\n    this.keep(key, found);',
    why: 'A value that was overwritten while it was read is served from then on.',
    caughtBy: [{ spec: 'test/reference-defects.spec.ts', test: 'read cache' }],
  },
  {
    name: 'read-cache-not-dropped-at-a-write',
    file: 'src/store/write-path.ts',
    find: 'reads.forget(key);',
    replace: '',
    why: 'The old value is served when the new one has left memory.',
    caughtBy: [{ spec: 'test/model.spec.ts', test: 'compacted' }],
  },
  {
    name: 'failed-commit-heard-of-after-compaction',
    file: 'src/store/store-core.ts',
    find: 'return slower ? Promise.all([durable, slower]).then(() => undefined) : durable;',
    replace: 'return slower ? slower.then(() => durable) : durable;',
    why: 'While a writer waits for compaction, nobody hears that its commit has failed.',
    caughtBy: [{ spec: 'test/compaction-schedule.spec.ts', test: 'told of a failed commit at once' }],
  },

  // ── Compaction ──
  {
    name: 'tombstone-dropped',
    file: 'src/store/hot-compaction.ts',
    find: 'if (parts.cold.index.mayHold(record.low, record.high)) copier.bury(record);',
    replace: '',
    why: 'An older value shines through from the cold log.',
    caughtBy: [{ spec: 'test/reference-defects.spec.ts', test: 'upsert, then delete' }],
  },
  {
    name: 'clear-mark-not-copied',
    file: 'src/store/hot-compaction.ts',
    find: 'cold.log.append(words, at, flags);',
    replace: 'void KIND_CLEAR;',
    why: 'What was cleared is back after a restart.',
    caughtBy: [{ spec: 'test/checkpoint-trust.spec.ts', test: 'lost its checkpoint' }],
  },
  {
    name: 'stale-begin-of-the-cold-log',
    file: 'src/cold/cold-tier.ts',
    find: 'this.index = newIndex(() => (this.log ? this.log.log.begin : begin));',
    replace: 'this.index = newIndex(() => begin);',
    why: 'Entries of records that were truncated are followed.',
    caughtBy: [{ spec: 'test/compaction.spec.ts', test: 'is not read again' }],
  },
  {
    name: 'cold-rewrite-copies-too-little',
    file: 'src/store/cold-compaction.ts',
    find: 'if (address <= record.address) break;\n      const other = this.atHand(address) ?? this.coldLog.tryReadRecord(',
    replace:
      'if (address < record.address) break;\n      const other = this.atHand(address) ?? this.coldLog.tryReadRecord(',
    why: 'A record is taken for a newer one of its own key, and left behind.',
    caughtBy: [{ spec: 'test/reference-defects.spec.ts', test: 'bare truncation' }],
  },

  // ── Versions, time, addresses, locks ──
  {
    name: 'expiry-by-a-clock-that-went-back',
    file: 'src/store/versions.ts',
    find: 'return this.maxTime;',
    replace: 'return now;',
    why: 'What was seen expired comes back when the clock is set back.',
    caughtBy: [{ spec: 'test/expiry.spec.ts' }],
  },
  {
    name: 'highest-time-forgotten-over-a-restart',
    file: 'src/store/open-store.ts',
    find: 'last?.maxTime ?? 0',
    replace: '0',
    why: 'What was seen expired comes back when the clock is set back between two lives.',
    caughtBy: [{ spec: 'test/expiry.spec.ts' }],
  },
  {
    name: 'no-versions-reserved',
    file: 'src/store/group-commit.ts',
    find: 'this.running = this.run(SEQUENCE_RESERVE, false)',
    replace: 'this.running = this.run(0, false)',
    why: 'After a crash, versions are handed out again that callers have seen with other values.',
    caughtBy: [{ spec: 'test/versions.spec.ts' }],
  },
  {
    name: 'addresses-used-again',
    file: 'src/store/recovery.ts',
    find: 'tail = this.segments.startOf(highest + 1);',
    replace: 'tail = this.lastEnd;',
    why: 'A record of a tail that was dropped verifies at the address of a new one.',
    caughtBy: [{ spec: 'src/store/recovery.spec.ts', test: 'torn tail' }],
  },
  {
    name: 'lock-not-taken',
    file: 'src/device/file-lock.ts',
    find: "  if (flock === 'held') return undefined;",
    replace: "  if (flock !== 'unknown') return () => undefined;",
    why: 'Two processes write to one directory.',
    caughtBy: [{ spec: 'test/two-openers.spec.ts', test: 'race' }, { spec: 'src/device/file-lock.spec.ts' }],
  },

  // ── Checkpoints ──
  {
    name: 'changed-block-not-written',
    file: 'src/hot/hash-index.ts',
    find: `      chunk[CHANGED_WORD] = 1;
      chunk[at] = units;`,
    replace: '      chunk[at] = units;',
    why: 'An incremental checkpoint has a block as it was: keys point to older records.',
    caughtBy: [{ spec: 'src/hot/hash-index-image.spec.ts' }],
  },
  {
    name: 'changed-block-not-written-after-a-truncation',
    file: 'src/hot/hash-index.ts',
    find: `        chunk[CHANGED_WORD] = 1;
        chunk[at] = chunk[at + 1] = 0;`,
    replace: '        chunk[at] = chunk[at + 1] = 0;',
    why: 'Entries below the begin of the log come back with the next checkpoint.',
    caughtBy: [{ spec: 'src/hot/hash-index-image.spec.ts' }],
  },
  {
    name: 'growth-not-frozen',
    file: 'src/hot/hash-index.ts',
    find: 'if (this.frozen || this.loader) return;',
    replace: 'if (this.loader) return;',
    why: 'A bucket is split while the checkpoint is between its two halves: keys are in neither.',
    caughtBy: [{ spec: 'test/checkpoint-trust.spec.ts' }, { spec: 'src/hot/hash-index-image.spec.ts' }],
  },
  {
    name: 'late-block-unchecked',
    file: 'src/store/checkpoint-file.ts',
    find: 'if (bytes && crc32(bytes) === checksum) return bytes;',
    replace: 'if (bytes) return bytes;',
    why: 'The hot index points to other records, or to none.',
    caughtBy: [{ spec: 'test/lazy-index.spec.ts', test: 'of one chunk is mended where it is met by reads' }],
  },
  {
    name: 'growth-does-not-wait-for-chunks',
    file: 'src/hot/hash-index.ts',
    find: 'if (this.frozen || this.loader) return;',
    replace: 'if (this.frozen) return;',
    why: 'A bucket is split that is not in memory, in what stands in for it.',
    caughtBy: [{ spec: 'src/hot/chunk-loader.spec.ts', test: 'does not grow until all of it is there' }],
  },
  {
    name: 'mended-over-newer-entries',
    file: 'src/hot/hash-index.ts',
    find: 'visitAll((address, sizeClass, chain) => this.enter(chain, address, sizeClass));',
    replace: `visitAll((address, sizeClass, chain) => {
      this.find(chain);
      this.put(chain, address, sizeClass);
    });`,
    why: 'What was written before a damage was met is forgotten when it is mended.',
    caughtBy: [{ spec: 'src/hot/chunk-loader.spec.ts', test: 'keeps what came before' }],
  },
];
