/** Own declarations of the part of preact that is used here. */
export type Child = VNode | string | number | bigint | boolean | null | undefined;
export type Children = Child | Children[];
export interface VNode { type: unknown; props: Record<string, unknown>; key: unknown }
export type FunctionComponent<P = Record<string, unknown>> = (props: P) => Children;
export function h(type: unknown, props?: Record<string, unknown> | null, ...children: unknown[]): VNode;
export function render(node: unknown, parent: Element): void;
export const Fragment: FunctionComponent;
export class Component<P = Record<string, unknown>, S = Record<string, unknown>> {
  constructor(props: P);
  props: P & { children?: Children };
  state: S;
  setState(next: Partial<S>): void;
  render(props: P, state: S): unknown;
}
