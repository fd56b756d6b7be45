/**
 * Links of the documents: each leads to something that is there, headings included. The package has only some of the tree, so
 * what a packed document links to is packed as well, or the text says that it is in the repository.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const root = join(__dirname, '..');
const { files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { files: string[] };
const isPacked = (path: string) =>
  !files.includes(`!${path}`) && files.some((file) => path === file || path.startsWith(`${file}/`));

const inDocs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).map((name) =>
  join('docs', name),
);
const documents = [
  ...[
    'README.md',
    'CHANGELOG.md',
    'SECURITY.md',
    'CONTRIBUTING.md',
    'bench/README.md',
    'sample-app/README.md',
  ],
  ...inDocs.filter((name) => name.endsWith('.md')),
];

interface Link {
  to: string;
  /** Of the tree; that of the document itself for a link to a heading of its own. */
  path: string;
  heading: string | undefined;
  paragraph: string;
}

const textOf = (path: string) => readFileSync(join(root, path), 'utf8').replace(/```[^]*?\n```/g, '');
const paragraphsOf = (path: string) => textOf(path).split(/\n\s*\n/);

function linksOf(document: string): Link[] {
  return paragraphsOf(document).flatMap((paragraph) =>
    [...paragraph.matchAll(/\]\((?!\w+:)([^)\s]+)\)/g)].map(([, to]) => {
      const [file, heading] = to.split('#');
      const path = file === '' ? document : relative(root, join(root, dirname(document), file));
      return { to, path, heading, paragraph };
    }),
  );
}

/** Names of the headings, as the usual viewers of Markdown make them. */
function headingsOf(path: string): string[] {
  const headings = [...textOf(path).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading.toLowerCase());
  return headings.map((heading) => heading.replace(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-'));
}

/** The paragraph with the link says where it leads, or the first one of the page does for all of it. */
function saysInRepository(document: string, { paragraph }: Link): boolean {
  return [paragraph, ...paragraphsOf(document).slice(0, 2)].some((text) =>
    text.replace(/\s+/g, ' ').includes('in the repository'),
  );
}

it('there are some', () => {
  expect(linksOf('README.md').length).toBeGreaterThan(20);
  expect(headingsOf('README.md')).toEqual(
    expect.arrayContaining(['getorset-and-tags', 'to-be-read-only-or-gone-at-close']),
  );
});

it.each(documents)('%s links to what is there', (document) => {
  const dead = linksOf(document).filter(({ path, heading }) => {
    if (!existsSync(join(root, path))) return true;
    return heading !== undefined && !headingsOf(path).includes(heading);
  });
  expect(dead.map(({ to }) => to)).toEqual([]);
});

it.each(documents.filter(isPacked))('%s says so where a link leads out of the package', (document) => {
  const silent = linksOf(document).filter(
    (link) => !isPacked(link.path) && !saysInRepository(document, link),
  );
  expect(silent.map(({ to }) => to)).toEqual([]);
});
