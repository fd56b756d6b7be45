/**
 * Whether two commits are under way at once. That keeps the processor busy while the disk is, but two at once take a disk longer
 * than one: which of both gets more writes done depends on the disk, on what else uses it, and on the work of the writers. So
 * both are tried, and the better one is kept for a while.
 */

/** Commits of a trial, and trials of the better way between two of the other one. */
const TRIAL_COMMITS = 48;
const TRIALS_OF_BETTER = 16;

/** How much a trial counts against those before. */
const WEIGHT = 0.3;

export class CommitOverlap {
  /** Whether two commits may be under way. */
  allowed = true;
  /** Writes a millisecond with one commit under way, and with two; 0 where it was not tried. */
  private readonly rates = [0, 0];
  private commits = 0;
  private writes = 0;
  private since: number | undefined;
  private trials = 0;

  /**
   * A commit of many writers has ended.
   * @param writes how many
   * @param now milliseconds
   */
  ended(writes: number, now: number): void {
    // The one that ends now began before.
    if (this.since === undefined) {
      this.since = now;
      return;
    }
    this.writes += writes;
    if (++this.commits < TRIAL_COMMITS) return;
    if (now > this.since) this.judge(this.writes / (now - this.since));
    this.commits = this.writes = 0;
    this.since = now;
  }

  private judge(rate: number): void {
    const { rates } = this;
    const way = Number(this.allowed);
    rates[way] = rates[way] === 0 ? rate : rates[way] + WEIGHT * (rate - rates[way]);
    const better = rates[1] >= rates[0];
    const isOther = this.allowed !== better;
    if (rates[0] === 0 || (!isOther && ++this.trials >= TRIALS_OF_BETTER)) {
      this.trials = 0;
      this.allowed = !better;
    } else {
      this.allowed = better;
    }
  }
}
