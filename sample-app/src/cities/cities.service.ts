import { Injectable, NotFoundException } from '@nestjs/common';
import { Cached, InjectKv, type KvNamespace } from 'nestjs-hotcold';
import { CELLS, CITIES, VISITS, type City, type CityPosition } from './city.js';
import { cellsAround, distanceKm } from './grid.js';

/** Cities around another, nearest first. */
export interface Nearby {
  center: City;
  km: number;
  /** Number of cities within the distance, without the one in the middle. */
  count: number;
  cities: (City & { km: number })[];
}

/** Most cities that an answer lists. */
const LISTED = 50;

@Injectable()
export class CitiesService {
  constructor(
    @InjectKv(CITIES) private readonly cities: KvNamespace<City>,
    @InjectKv(CELLS) private readonly cells: KvNamespace<CityPosition[]>,
    @InjectKv(VISITS) private readonly visits: KvNamespace<number>,
  ) {}

  async find(id: number): Promise<City> {
    const city = await this.cities.get(id);
    if (!city) throw new NotFoundException(`There is no city ${id}`);
    return city;
  }

  /** Reads every cell of the grid around the city, and computes the distance of each city in them. */
  @Cached({ ttl: '1h' })
  async near(id: number, km: number): Promise<Nearby> {
    const center = await this.find(id);
    const cells = cellsAround(center.latitude, center.longitude, km);
    const found: { id: number; km: number }[] = [];
    for (const positions of await this.cells.getMany(cells)) {
      for (const [other, latitude, longitude] of positions ?? []) {
        const away = distanceKm(center.latitude, center.longitude, latitude, longitude);
        if (away <= km && other !== id) found.push({ id: other, km: Math.round(away * 10) / 10 });
      }
    }
    found.sort((a, b) => a.km - b.km || a.id - b.id);
    const listed = found.slice(0, LISTED);
    const cities = await this.cities.getMany(listed.map((other) => other.id));
    return {
      center,
      km,
      count: found.length,
      cities: listed.map((other, i) => ({ ...(cities[i] as City), km: other.km })),
    };
  }

  /** Counts a visit of a page. @returns how many there have been */
  async visit(page: string): Promise<number> {
    return this.visits.increment(page);
  }
}
