/** Progress in the terminal: a bar where there is one, a line every tenth where the output goes elsewhere. */
import { SingleBar } from 'cli-progress';

export interface Progress {
  update(done: number): void;
  stop(): void;
}

export function progress(total: number, done: number): Progress {
  const bar = new SingleBar({
    format: 'Importing cities [{bar}] {percentage} % | {value}/{total} | {duration} s',
    hideCursor: true,
  });
  if (!process.stderr.isTTY) return new Lines(total, done);
  bar.start(total, done);
  return bar;
}

class Lines implements Progress {
  private tenth: number;

  constructor(
    private readonly total: number,
    done: number,
  ) {
    this.tenth = Math.floor((done / total) * 10);
    console.error(`Importing ${total} cities${done > 0 ? `, ${done} of them are here` : ''}`);
  }

  update(done: number): void {
    const tenth = Math.floor((done / this.total) * 10);
    if (tenth === this.tenth) return;
    this.tenth = tenth;
    console.error(`Importing cities: ${tenth * 10} % (${done}/${this.total})`);
  }

  stop(): void {}
}
