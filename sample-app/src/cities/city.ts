/** What the store holds about cities, and the names of its namespaces. */

export interface City {
  id: number;
  name: string;
  /** ISO 3166 code, two letters. */
  country: string;
  population: number;
  latitude: number;
  longitude: number;
}

/** Namespace with a `City` under each id. */
export const CITIES = 'cities';

/**
 * Namespace with the cities of each cell of the grid (`grid.ts`), so that a search by distance reads a few entries and
 * not all cities. Positions are in it, because most cities of a cell turn out to be too far away.
 */
export const CELLS = 'cells';
export type CityPosition = [id: number, latitude: number, longitude: number];

/** Namespace with the number of visits of each page. */
export const VISITS = 'visits';

/** Namespace with the progress of the import. */
export const IMPORT = 'import';
