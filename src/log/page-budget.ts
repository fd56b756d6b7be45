/**
 * How many pages a log may have in memory, and the memory of the pages to come: one is made ready while the page before it
 * is filled (decision 19), and what the budget has no room for any more is given away. Asked once a page or batch, never
 * for a record.
 *
 * Not here: which page has to go, and how it gets to disk.
 */
import { MIN_RING_PAGES } from '../limits.js';
import type { PageRing } from './page-ring.js';
import { HEADER_BYTES } from './record.js';

export interface PageBudgetOptions {
  /** Bytes that pages may take now; asked at each new page. */
  memoryBudget: () => number;
  /** Fills a new page with zeros before it is needed (`EnvMemory.zero`); without it, the memory of a page is new when it is used. */
  zero?: ((page: Uint8Array) => Promise<void>) | undefined;
  /** Gets the memory of a page that the budget has no room for any more. */
  giveAway: (page: Buffer) => void;
}

export class PageBudget {
  /** Whether the memory of the next page is being made ready. */
  preparing = false;

  constructor(
    private readonly ring: PageRing,
    private readonly options: PageBudgetOptions,
  ) {}

  /** Pages that there may be now. */
  get pages(): number {
    // One page may be set aside for a write that is still reading it.
    const budget = this.options.memoryBudget() - this.ring.pageSize;
    return Math.max(MIN_RING_PAGES, Math.floor(budget / this.ring.pageSize));
  }

  /** Pages of the ring, of so many in all: the one that is being made ready is memory, too. */
  pagesInUse(pages: number): number {
    return this.preparing ? Math.max(MIN_RING_PAGES, pages - 1) : pages;
  }

  /** Pages that have to be added for records of these sizes, or a few more, where the last page has so much room. */
  pagesFor(sizes: readonly number[], pageRoom: number): number {
    const { pageSize } = this.ring;
    let pages = 0;
    let room = pageRoom;
    for (const bytes of sizes) {
      if (bytes > pageSize) {
        // Its pieces, and another page for the record that lists them.
        pages += Math.ceil(bytes / (pageSize - HEADER_BYTES)) + 1;
        room = 0;
      } else if (bytes > room) {
        pages++;
        room = pageSize - bytes;
      } else {
        room -= bytes;
      }
    }
    return pages;
  }

  /** Keeps at most so many buffers for pages to come, and gives the others away. */
  keepSpares(count: number): void {
    while (this.ring.spareCount > count) this.options.giveAway(this.ring.takeSpare());
  }

  /** Has memory made ready for the page after this one, as long as the log grows; not for one that is short. */
  prepareNext(pages: number): void {
    const { options, ring } = this;
    if (!options.zero || this.preparing || ring.spareCount > 0) return;
    if (ring.count < 2 || ring.count >= pages || pages === MIN_RING_PAGES) return;
    const page = ring.newBuffer();
    this.preparing = true;
    options
      .zero(page)
      .then(() => ring.giveBack(page))
      .catch(() => undefined)
      .finally(() => (this.preparing = false));
  }
}
