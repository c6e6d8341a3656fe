/** Own declarations of the part of uPlot that is used here. */
export type Column = ArrayLike<number | null | undefined>;
export interface Cursor { idx: number | null; left?: number; top?: number }
export default class UPlot {
  constructor(options: Record<string, unknown>, data: Column[], target: HTMLElement);
  readonly root: HTMLElement;
  readonly cursor: Cursor;
  readonly data: Column[];
  readonly bbox: { left: number; top: number; width: number; height: number };
  readonly ctx: CanvasRenderingContext2D;
  setData(data: Column[], resetScales?: boolean): void;
  setSize(size: { width: number; height: number }): void;
  valToPos(value: number, scale: string, canvasPixels?: boolean): number;
  destroy(): void;
}
