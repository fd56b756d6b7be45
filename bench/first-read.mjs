/**
 * W9: opens a store and reads one key; the process that started this one takes the time until it hears of it. Little is
 * imported, because importing is part of the time.
 */
import { writeSync } from 'node:fs';
import { users } from './harness/data.mjs';

const { peer, directory, keys } = JSON.parse(process.argv[2]);
const { open, answers } = await import(`./adapters/${peer}.mjs`);
const store = await open(directory, { keys, room: keys, data: users });
const index = keys >> 1;
const value = await store.get(users.keyOf(index));
const right = answers === false || users.is(value, index);
writeSync(1, right ? 'right' : 'wrong');
await store.close?.();
