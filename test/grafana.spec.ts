/** The dashboard in docs/grafana asks only for metrics and labels that are exported, and for every metric that is. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { KvStore } from 'nestjs-hotcold/store';
import { KvMetrics } from 'nestjs-hotcold/metrics';

interface Panel {
  title: string;
  type: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string; legendFormat: string }[];
}

const dashboard = JSON.parse(
  readFileSync(join(__dirname, '..', 'docs', 'grafana', 'nestjs-hotcold.json'), 'utf8'),
) as { panels: Panel[]; templating: { list: { name: string; definition?: string }[] } };

const targets = dashboard.panels.flatMap(({ title, targets = [] }) =>
  targets.map((target) => ({ title, ...target })),
);

/** Labels of each series that a scrape has, by name. */
async function exported(): Promise<Map<string, Set<string>>> {
  const store = await KvStore.open();
  const metrics = new KvMetrics();
  metrics.watch(store);
  // Two that are there only after, or while, something happens; the first call of an operation is timed.
  await store.set('a', 1);
  await store.compact({ full: true });
  await store.checkpoint();
  const names = new Map<string, Set<string>>();
  for (const { name, values } of await metrics.registry.getMetricsAsJSON()) {
    for (const { metricName, labels } of values as { metricName?: string; labels: object }[])
      names.set(metricName ?? name, new Set(Object.keys(labels)));
  }
  names.set('hotcold_compaction_progress_ratio', new Set(['store']));
  await store.close();
  return names;
}

describe('the Grafana dashboard', () => {
  it('asks for what is exported, by labels that it has', async () => {
    const names = await exported();
    expect(targets.length).toBeGreaterThan(30);
    const problems: string[] = [];
    for (const { title, expr, legendFormat } of targets) {
      const report = (problem: string) => problems.push(`${title}: ${problem} in ${expr}`);
      const asked = [...expr.matchAll(/\b(hotcold_\w+)(?:\{([^}]*)\})?/g)];
      if (asked.length === 0) report('no metric');
      const known = new Set<string>();
      for (const [, name, selector = ''] of asked) {
        const labels = names.get(name);
        if (!labels) {
          report(`there is no ${name}`);
          continue;
        }
        for (const label of labels) known.add(label);
        if (!selector.includes('store=~"$store"')) report(`${name} of all stores`);
        for (const [, label] of selector.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g))
          if (!labels.has(label)) report(`${name} has no label ${label}`);
      }
      const grouped = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list]) => list.split(/,\s*/));
      const shown = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label);
      for (const label of [...grouped, ...shown])
        if (!known.has(label)) report(`nothing has the label ${label}`);
      if (grouped.length > 0)
        for (const label of shown) if (!grouped.includes(label)) report(`${label} is summed up`);
      for (const pair of ['()', '[]', '{}'])
        if (expr.split(pair[0]).length !== expr.split(pair[1]).length) report(`unbalanced ${pair}`);
      // Counters are of no use as they are, and rates of gauges of none at all.
      for (const [, name] of asked) {
        const counts = /_(total|bucket|sum|count)$/.test(name);
        const rated = new RegExp(`(rate|increase)\\(${name}\\b`).test(expr);
        if (counts !== rated) report(`${name} ${rated ? 'is no counter' : 'without rate()'}`);
      }
    }
    expect(problems).toEqual([]);
  });

  it('values of labels that it picks are there', async () => {
    const store = await KvStore.open();
    const metrics = new KvMetrics();
    metrics.watch(store);
    const text = await metrics.metrics();
    await store.close();
    for (const { expr } of targets) {
      for (const [, label, values] of expr.matchAll(/(\w+)(?:=~|!=|=)"([^"$]+)"/g))
        for (const value of values.split('|')) expect(text).toContain(`${label}="${value}"`);
    }
  });

  it('shows every metric', async () => {
    const all = targets.map(({ expr }) => expr).join('\n');
    const families = [...(await exported()).keys()].map((name) => name.replace(/_(bucket|sum|count)$/, ''));
    expect(families.filter((name) => !all.includes(name))).toEqual([]);
  });

  it('has panels that do not lie upon each other', () => {
    const places = dashboard.panels.map(({ gridPos }) => gridPos);
    for (const [i, a] of places.entries()) {
      expect(a.x + a.w).toBeLessThanOrEqual(24);
      for (const b of places.slice(i + 1))
        expect(a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h).toBe(false);
    }
    expect(dashboard.templating.list.find(({ name }) => name === 'store')?.definition).toBe(
      'label_values(hotcold_up, store)',
    );
  });
});
