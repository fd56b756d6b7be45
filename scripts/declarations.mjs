// Leaves of the declarations that tsc wrote what the entry points lead to. tsc writes all that a file exports, and a report
// that applications see often stands beside the part of the engine that makes it: taken as they are, the declarations of
// the whole engine would be published. What is named `@internal` is gone before (`stripInternal`).
//
// Names are followed as text, not as symbols: a field that is called like something imported keeps that too, which does no
// harm. Whether something is missing says `npm run check:install`, which compiles against what is left.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';

/** Declaration files by path, each with the text that is left of it. */
export function declarationsFor(entries) {
  const files = new Map();
  for (const entry of entries) markAll(entry);
  return [...files].map(([path, file]) => [path, textOf(file)]);

  function open(path) {
    let file = files.get(path);
    if (!file) files.set(path, (file = parse(path)));
    return file;
  }

  function markAll(path) {
    const file = open(path);
    for (const [name, { exported }] of file.declared) if (exported) mark(path, name);
    for (const { from, names } of file.passedOn) {
      if (!from) continue;
      if (names) for (const name of names) mark(from, name);
      else markAll(from);
    }
  }

  function mark(path, name) {
    const file = open(path);
    for (const { from, names } of file.passedOn)
      if (from && (names?.includes(name) ?? true)) mark(from, name);
    const statements = file.declared.get(name)?.statements ?? [];
    for (const statement of statements) {
      if (file.kept.has(statement)) continue;
      file.kept.add(statement);
      for (const used of identifiersIn(statement)) {
        const imported = file.imported.get(used);
        if (imported) file.used.add(used);
        if (imported?.from) mark(imported.from, imported.name);
        if (file.declared.has(used)) mark(path, used);
      }
    }
  }
}

function parse(path) {
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true);
  const file = {
    source,
    declared: new Map(),
    imported: new Map(),
    passedOn: [],
    kept: new Set(),
    used: new Set(),
  };
  /** The file that a specifier leads to; `undefined` for a package. */
  const fileOf = ({ text }) =>
    text.startsWith('.') ? join(dirname(path), text.replace(/\.js$/, '.d.ts')) : undefined;
  for (const statement of source.statements) {
    if (ts.isImportDeclaration(statement)) {
      const from = fileOf(statement.moduleSpecifier);
      for (const { name, propertyName } of statement.importClause?.namedBindings?.elements ?? [])
        file.imported.set(name.text, { from, name: (propertyName ?? name).text });
      if (!statement.importClause?.namedBindings?.elements) file.kept.add(statement);
    } else if (ts.isExportDeclaration(statement)) {
      file.kept.add(statement);
      if (!statement.moduleSpecifier) continue;
      const names = statement.exportClause?.elements.map(
        ({ name, propertyName }) => (propertyName ?? name).text,
      );
      file.passedOn.push({ from: fileOf(statement.moduleSpecifier), names });
    } else {
      const exported = (ts.getCombinedModifierFlags(statement) & ts.ModifierFlags.Export) !== 0;
      for (const { name } of statement.declarationList?.declarations ?? [statement]) {
        const { statements = [] } = file.declared.get(name.text) ?? {};
        file.declared.set(name.text, { exported, statements: [...statements, statement] });
      }
    }
  }
  return file;
}

function identifiersIn(statement) {
  const found = new Set();
  (function visit(node) {
    if (ts.isIdentifier(node)) found.add(node.text);
    ts.forEachChild(node, visit);
  })(statement);
  return found;
}

function textOf({ source, kept, used }) {
  return source.statements
    .map((statement) => (kept.has(statement) ? statement.getFullText() : importOf(statement)))
    .join('');

  function importOf(statement) {
    if (!ts.isImportDeclaration(statement)) return '';
    const { importClause, moduleSpecifier } = statement;
    const names = importClause.namedBindings.elements.filter(({ name }) => used.has(name.text));
    if (names.length === 0) return '';
    const type = importClause.isTypeOnly ? 'type ' : '';
    return `\nimport ${type}{ ${names.map((name) => name.getText()).join(', ')} } from ${moduleSpecifier.getText()};`;
  }
}
