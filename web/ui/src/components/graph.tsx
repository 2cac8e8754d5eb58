// The drawing of a graph. A part of its own, because React Flow is only loaded where something is drawn.
import { Background, Controls, Handle, Position, ReactFlow, type Edge, type Node, type NodeProps } from "@xyflow/react";
import "@xyflow/react/dist/style.css";
import { memo, useMemo, useRef, useState } from "react";
import type { Graph } from "../api/types";
import { nodeName, words } from "../lib/graph";
import { count } from "../lib/format";
import { theme } from "../lib/theme";
import { Facts } from "./bits";
import { show } from "./table";

/** More are not drawn: nobody could tell them apart. The table has all of them. */
const MOST = 400;
/** What a node takes at most, and the margin. */
const [WIDTH, HEIGHT, EDGE] = [180, 110, 12];
/** Smaller than that nobody reads a node. */
const READABLE = 0.55;

type Thing = Node<{ kind: string; label: string; detail: string; bad: boolean; down: boolean }, "thing">;

const ThingNode = memo(({ data }: NodeProps<Thing>) => (
  <div className={`thing thing-${data.kind}${data.bad ? " thing-bad" : ""}`}>
    <Handle type="target" position={data.down ? Position.Top : Position.Left} isConnectable={false} />
    <span className="thing-kind">{data.kind}{data.bad ? ", error" : ""}</span>
    <strong>{data.label}</strong>
    {data.detail ? <span>{data.detail}</span> : null}
    <Handle type="source" position={data.down ? Position.Bottom : Position.Right} isConnectable={false} />
  </div>
));
const TYPES = { thing: ThingNode };

/** Where a drawing begins: whole if it can be read so, else from its top; across it is always centred. */
export function viewOf(positions: { x: number; y: number }[], box: { width: number; height: number }) {
  const [left, right] = [Math.min(...positions.map(({ x }) => x)), Math.max(...positions.map(({ x }) => x)) + WIDTH];
  const [top, bottom] = [Math.min(...positions.map(({ y }) => y)), Math.max(...positions.map(({ y }) => y)) + HEIGHT];
  const fits = Math.min((box.width - 2 * EDGE) / (right - left), (box.height - 2 * EDGE) / (bottom - top));
  const zoom = Math.min(1, Math.max(READABLE, fits));
  const y = (bottom - top) * zoom <= box.height - 2 * EDGE ? (box.height - (bottom - top) * zoom) / 2 : EDGE;
  const x = (right - left) * zoom <= box.width - 2 * EDGE ? (box.width - (right - left) * zoom) / 2 : EDGE;
  return { x: x - left * zoom, y: y - top * zoom, zoom };
}

export default function Drawing({ graph, label }: { graph: Graph; label: string }) {
  const host = useRef<HTMLDivElement>(null);
  const [chosen, setChosen] = useState<string | null>(null);
  const [nodes, edges] = useMemo(() => {
    const drawn = graph.nodes.slice(0, MOST);
    // Calls are laid out downwards, what happened one after the other to the right.
    const down = graph.edges.some((edge) => edge.kind === "parent");
    const ids = new Set(drawn.map((node) => node.id));
    return [
      drawn.map((node): Thing => ({
        id: node.id, type: "thing", position: node.position, ariaLabel: nodeName(node), connectable: false, draggable: false,
        data: { kind: node.type, label: words(node.data.label), detail: words(node.data.detail), bad: node.type === "error" || node.data.is_error === true, down },
      })),
      graph.edges.filter((edge) => ids.has(edge.source) && ids.has(edge.target)).map((edge): Edge => ({
        id: edge.id, source: edge.source, target: edge.target, label: edge.kind === "parent" ? undefined : edge.label, className: `edge-${edge.kind}`, focusable: false,
      })),
    ] as const;
  }, [graph]);
  const node = graph.nodes.find((each) => each.id === chosen);
  return (
    <>
      {graph.nodes.length > MOST ? <p className="gap">The first {MOST} of {count(graph.nodes.length, "node")} are drawn.</p> : null}
      <div className="graph" role="group" aria-label={label} ref={host} onKeyDown={(event) => {
        const id = event.key === "Enter" || event.key === " " ? (event.target as HTMLElement).closest(".react-flow__node")?.getAttribute("data-id") : null;
        if (id) { event.preventDefault(); setChosen(id); }
      }}>
        <ReactFlow<Thing, Edge> nodes={[...nodes]} edges={[...edges]} nodeTypes={TYPES} minZoom={0.05} proOptions={{ hideAttribution: true }} colorMode={theme()} onInit={(flow) => { const box = host.current?.getBoundingClientRect(); if (box && nodes.length) void flow.setViewport(viewOf(nodes.map((each) => each.position), box)); }} onlyRenderVisibleElements
          nodesConnectable={false} nodesDraggable={false} edgesFocusable={false} preventScrolling={false} zoomOnScroll={false}
          onNodeClick={(_, each) => setChosen(each.id)} onSelectionChange={({ nodes: selected }) => { if (selected[0]) setChosen(selected[0].id); }}>
          <Background /><Controls showInteractive={false} />
        </ReactFlow>
      </div>
      <div aria-live="polite">{node ? <Facts items={[["Chosen", nodeName(node)], ...Object.entries(node.data).filter(([name, value]) => value !== null && value !== "" && !["label", "detail"].includes(name)).map(([name, value]): [string, string] => [name.replaceAll("_", " "), show(value)])]} /> : <p className="hint">Choose a node to see all that is known of it.</p>}</div>
    </>
  );
}
