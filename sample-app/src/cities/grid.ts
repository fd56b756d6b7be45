/** Distances on the globe, and a grid of one-degree cells to find what is near without looking at everything. */

const EARTH_RADIUS_KM = 6371.0088;
const RADIANS = Math.PI / 180;
const KM_PER_DEGREE = EARTH_RADIUS_KM * RADIANS;

/** Great-circle distance in kilometres, by the haversine formula. */
export function distanceKm(lat1: number, lon1: number, lat2: number, lon2: number): number {
  const dLat = Math.sin(((lat2 - lat1) * RADIANS) / 2);
  const dLon = Math.sin(((lon2 - lon1) * RADIANS) / 2);
  const h = dLat * dLat + Math.cos(lat1 * RADIANS) * Math.cos(lat2 * RADIANS) * dLon * dLon;
  return 2 * EARTH_RADIUS_KM * Math.asin(Math.sqrt(Math.min(1, h)));
}

/** Key of a cell: its south-west corner in whole degrees. */
export type Cell = [latitude: number, longitude: number];

export function cellOf(latitude: number, longitude: number): Cell {
  const east = Math.floor(longitude);
  return [Math.floor(latitude), east === 180 ? -180 : east];
}

/** The cells that a circle may touch: across the date line, and all longitudes where it holds a pole. */
export function cellsAround(latitude: number, longitude: number, km: number): Cell[] {
  const reach = km / KM_PER_DEGREE;
  const south = Math.max(-90, Math.floor(latitude - reach));
  const north = Math.min(90, Math.floor(latitude + reach));
  const widest = Math.sin(Math.min(reach * RADIANS, Math.PI / 2)) / Math.cos(latitude * RADIANS);
  const holdsPole = Math.abs(latitude) + reach >= 90 || widest >= 1;
  const reachEast = holdsPole ? 180 : Math.asin(widest) / RADIANS;
  const west = Math.floor(longitude - reachEast);
  const columns = Math.min(360, Math.floor(longitude + reachEast) - west + 1);
  const cells: Cell[] = [];
  for (let lat = south; lat <= north; lat++) {
    for (let column = 0; column < columns; column++) {
      cells.push([lat, ((((west + column + 180) % 360) + 360) % 360) - 180]);
    }
  }
  return cells;
}
