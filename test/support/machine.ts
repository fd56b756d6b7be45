/** What the torture needs of the machine: programs, mounts and limits that want root. Where it has not got them, a test says so. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Runs a program; returns what it printed. */
export function sh(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Why something cannot be done here; `undefined` when it can. */
export function problemOf(attempt: () => void): string | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    return String((error as Error).message)
      .trim()
      .split('\n')
      .slice(0, 2)
      .join(' ');
  }
}

/** A directory in which file systems are mounted; whatever is still mounted at the end goes with it. */
export class Mounts {
  readonly directory = mkdtempSync(join(tmpdir(), 'hotcold-mount-'));
  private readonly mounted: string[] = [];

  /** @param args of mount(8), without the place */
  mount(place: string, ...args: string[]): void {
    sh('mount', ...args, place);
    this.mounted.push(place);
  }

  unmount(place: string): void {
    sh('umount', place);
    this.mounted.splice(this.mounted.indexOf(place), 1);
  }

  end(): void {
    for (const place of [...this.mounted]) problemOf(() => this.unmount(place));
    rmSync(this.directory, { recursive: true, force: true });
  }
}
