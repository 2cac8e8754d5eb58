// The pages: a line each. Each is loaded when it is opened; only the dashboard comes with the first document. A page with a
// group is in the navigation. The server answers these addresses too (web/src/page.rs).
import { lazy, type ComponentType } from "react";

export type Group = "Now" | "Look into" | "Watch" | "Run";
export type Page = { path: string; load: () => Promise<{ default: ComponentType }>; group?: Group; name?: string };

const PAGES: Page[] = [
  { path: "/incidents", load: () => import("./pages/incidents"), group: "Now", name: "Incidents" },
  { path: "/incidents/:id", load: () => import("./pages/incident") },
  { path: "/approvals", load: () => import("./pages/approvals"), group: "Now", name: "Approvals" },
  { path: "/approvals/:id", load: () => import("./pages/approval") },
  { path: "/workbench", load: () => import("./pages/workbench"), group: "Look into", name: "Workbench" },
  { path: "/forensics", load: () => import("./pages/forensics"), group: "Look into", name: "Forensics" },
  { path: "/forensics/traces/:id", load: () => import("./pages/forensics-trace") },
  { path: "/forensics/incidents/:id", load: () => import("./pages/forensics-incident") },
  { path: "/forensics/compare", load: () => import("./pages/forensics-compare") },
  { path: "/agents", load: () => import("./pages/agents"), group: "Look into", name: "Agents" },
  { path: "/agents/:id", load: () => import("./pages/agent") },
  { path: "/runs/:id", load: () => import("./pages/run") },
  { path: "/sessions", load: () => import("./pages/sessions"), group: "Look into", name: "Sessions" },
  { path: "/sessions/:id", load: () => import("./pages/session") },
  { path: "/quality", load: () => import("./pages/quality"), group: "Watch", name: "Quality" },
  { path: "/risk", load: () => import("./pages/risk"), group: "Watch", name: "Risk" },
  { path: "/risk/:id", load: () => import("./pages/risk-pull") },
  { path: "/digest", load: () => import("./pages/digest"), group: "Watch", name: "Digest" },
  { path: "/digest/:id", load: () => import("./pages/digest") },
  { path: "/detectors", load: () => import("./pages/detectors"), group: "Run", name: "Detectors" },
  { path: "/detectors/:id", load: () => import("./pages/detectors") },
  { path: "/jobs", load: () => import("./pages/jobs"), group: "Run", name: "Jobs" },
  { path: "/jobs/:id", load: () => import("./pages/jobs") },
  { path: "/audit", load: () => import("./pages/audit"), group: "Run", name: "Audit" },
  { path: "/settings", load: () => import("./pages/settings"), group: "Run", name: "Settings" },
];

export const GROUPS: Group[] = ["Now", "Look into", "Watch", "Run"];

/** Loads a page; what fails is tried once more: a moment without a network is no reason to give up. */
export const loaded = <T>(load: () => Promise<T>, pause = 1000): Promise<T> => load().catch(() => new Promise<void>((done) => setTimeout(done, pause)).then(load));

export const pages = PAGES.map((page) => ({ ...page, View: lazy(() => loaded(page.load)) }));
