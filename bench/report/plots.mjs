/**
 * Plots of a result as SVG, by vega-lite (installed by `npm run bench:install`): throughput, latency, memory, and
 * amplification over time; of growth, the same against the number of keys.
 */
import { QUANTILES } from '../harness/context.mjs';
import { WORKLOADS } from '../workloads/index.mjs';

const WIDTH = 260;
const HEIGHT = 170;
const BAR_STEP = 15;
const COLUMNS = 3;
const OURS = '#d62728';
/** Peers keep their colours from plot to plot; ours is red. */
const COLOURS = {
  ours: OURS,
  'ours-decoded': '#ff9896',
  empty: '#bbbbbb',
  bare: '#777777',
  map: '#2ca02c',
  'lru-cache': '#98df8a',
  lmdb: '#1f77b4',
  'lmdb-nosync': '#aec7e8',
  'lmdb-default': '#6baed6',
  rocksdb: '#ff7f0e',
  'classic-level': '#ffbb78',
  'better-sqlite3': '#9467bd',
  redis: '#8c564b',
  bentocache: '#e377c2',
};

const colour = {
  field: 'peer',
  type: 'nominal',
  title: null,
  scale: { domain: Object.keys(COLOURS), range: Object.values(COLOURS) },
};

/** @returns `name`, `title` and `svg` of each plot for which there are figures */
export async function plotsOf({ medians }) {
  const specs = [throughput(medians), latency(medians), memory(medians), overTime(medians)];
  return render(specs);
}

/** @returns as `plotsOf`, for the workloads of growth */
export function growthPlotsOf({ medians, settings }) {
  const rows = [];
  for (const [workload, peers] of Object.entries(medians)) {
    const { size, quick } = WORKLOADS[workload];
    const { keys } = settings.quick ? quick : size;
    for (const [peer, { ops, latencyUs, figures }] of Object.entries(peers)) {
      for (const [name, value] of Object.entries(ops))
        rows.push({ peer, keys, group: 'throughput', name, value });
      for (const [name, list] of Object.entries(latencyUs))
        for (const quantile of [0.5, 0.99, 0.999])
          rows.push({
            peer,
            keys,
            group: 'latency',
            name: `${name}, p${quantile * 100}`,
            value: at(list, quantile),
          });
      for (const [name, value] of Object.entries(figures)) {
        const group = /amplification|reads an? /.test(name) ? 'amplification' : 'memory';
        if (group === 'amplification' || /MiB|bytes|reopened/.test(name))
          rows.push({ peer, keys, group, name, value });
      }
    }
  }
  const titles = {
    throughput: 'Operations a second against keys',
    latency: 'Latency in µs against keys',
    memory: 'Memory and opening against keys',
    amplification: 'Amplification and reads against keys',
  };
  return render(
    Object.entries(titles).map(([group, title]) => ({
      name: group,
      title,
      rows: rows.filter((row) => row.group === group && row.value > 0),
      mark: { type: 'line', point: true },
      x: {
        field: 'keys',
        type: 'quantitative',
        scale: { type: 'log', nice: false },
        axis: { format: '~s', tickCount: 4 },
      },
      y: {
        field: 'value',
        type: 'quantitative',
        scale: group === 'amplification' ? { zero: true } : { type: 'log' },
        title: null,
        axis: { format: '~s', tickCount: 5 },
      },
    })),
  );
}

const at = (list, quantile) => list[QUANTILES.indexOf(quantile)];

function throughput(medians) {
  const rows = entries(medians).flatMap(({ workload, peer, ops }) =>
    Object.entries(ops).map(([phase, value]) => ({ name: `${workload}: ${phase}`, peer, value })),
  );
  return bars('throughput', 'Operations a second', rows, '.3~s');
}

function latency(medians) {
  const rows = entries(medians).flatMap(({ workload, peer, latencyUs }) =>
    Object.entries(latencyUs).flatMap(([phase, list]) =>
      list
        .slice(0, -1)
        .map((us, i) => ({ name: `${workload}: ${phase}`, peer, us, nines: 1 / (1 - QUANTILES[i]) })),
    ),
  );
  return {
    name: 'latency',
    title: 'Latency of single operations, µs, by quantile',
    rows,
    mark: { type: 'line', interpolate: 'monotone' },
    x: {
      field: 'nines',
      type: 'quantitative',
      scale: { type: 'log' },
      title: null,
      axis: {
        values: [2, 10, 100, 1000, 10000],
        labelExpr: "'p' + format(100 * (1 - 1 / datum.value), '~r')",
      },
    },
    y: { field: 'us', type: 'quantitative', scale: { type: 'log' }, title: null, axis: { format: '~r' } },
  };
}

function memory(medians) {
  const rows = entries(medians).flatMap(({ workload, peer, figures }) =>
    'resident, MiB' in figures ? [{ name: workload, peer, value: figures['resident, MiB'] }] : [],
  );
  return bars('memory', 'Resident memory, MiB', rows, '.0f');
}

/** Bars with their figures, on linear axes from zero. `format` is d3's. */
function bars(name, title, rows, format) {
  const y = { field: 'peer', type: 'nominal', sort: Object.keys(COLOURS), title: null };
  const x = { field: 'value', type: 'quantitative', title: null, axis: { format: '~s', tickCount: 4 } };
  const text = { field: 'value', type: 'quantitative', format };
  return {
    name,
    title,
    rows,
    layers: [
      { mark: 'bar', encoding: { x, y, color: { ...colour, legend: null } } },
      { mark: { type: 'text', align: 'left', dx: 3 }, encoding: { x, y, text } },
    ],
    height: { step: BAR_STEP },
  };
}

function overTime(medians) {
  const rows = entries(medians).flatMap(({ peer, samples }) =>
    samples.flatMap(({ seconds, ...values }) =>
      Object.entries(values).map(([name, value]) => ({ name, peer, seconds, value })),
    ),
  );
  return {
    name: 'over-time',
    title: 'Zipfian updates of more data than memory, over time (seconds)',
    rows,
    mark: 'line',
    x: { field: 'seconds', type: 'quantitative', title: null },
    y: { field: 'value', type: 'quantitative', title: null },
  };
}

function entries(medians) {
  return Object.entries(medians).flatMap(([workload, peers]) =>
    Object.entries(peers).map(([peer, values]) => ({ workload, peer, ...values })),
  );
}

/** Lines by peer, with a legend of those that there are. */
function lines(rows, { mark, x, y }) {
  const present = new Set(rows.map((row) => row.peer));
  const legend = { values: Object.keys(COLOURS).filter((peer) => present.has(peer)) };
  return [{ mark, encoding: { x, y, color: { ...colour, legend } } }];
}

/** Draws each as small multiples, one for each `name` among the rows. */
async function render(plots) {
  const [vega, { compile }] = await Promise.all([import('vega'), import('vega-lite')]);
  const drawn = [];
  for (const { name, title, rows, layers, height = HEIGHT, ...line } of plots) {
    if (rows.length === 0) continue;
    const spec = {
      title,
      background: 'white',
      data: { values: rows },
      facet: { field: 'name', type: 'nominal', title: null, sort: [...new Set(rows.map((row) => row.name))] },
      columns: COLUMNS,
      spec: { width: WIDTH, height, layer: layers ?? lines(rows, line) },
      resolve: { scale: { x: 'independent', y: 'independent' } },
    };
    const view = new vega.View(vega.parse(compile(spec).spec), { renderer: 'none' });
    drawn.push({ name, title, svg: await view.toSVG() });
    view.finalize();
  }
  return drawn;
}
