export function plant(path: string, source: string): string;
