/** A test that notices a defect: a spec file, and a pattern for the names of its tests. */
export interface Catcher {
  spec: string;
  test?: string;
}

/** A deliberate defect. */
export interface PlantedBug {
  name: string;
  file: string;
  /** Text of the file that occurs once, and what takes its place. */
  find: string;
  replace: string;
  /** What goes wrong with it. */
  why: string;
  caughtBy: Catcher[];
}

export const PLANTED_BUGS: PlantedBug[];
