// Names for the shapes of the server's own description (schema.ts is generated from it: `make ui-types`).
import type { components } from "./schema";

type Schemas = components["schemas"];
export type Session = Schemas["Session"];
export type Incident = Schemas["Incident"];
export type IncidentDetail = Schemas["IncidentDetail"];
export type Suspect = Schemas["Suspect"];
export type TimelineEntry = Schemas["TimelineEntry"];
export type Anomaly = Schemas["Anomaly"];
export type Evidence = Schemas["Evidence"];
export type Approval = Schemas["Approval"];
export type ApprovalStats = Schemas["ApprovalStats"];
export type Decided = Schemas["Decided"];
export type Action = Schemas["Action"];
export type Job = Schemas["Job"];
export type JobRun = Schemas["JobRun"];
export type JobAnswer = Schemas["JobAnswer"];
export type Sources = Schemas["Sources"];
export type Source = Schemas["Source"];
export type Detector = Schemas["Detector"];
export type AuditRows = Schemas["AuditRows"];
export type AuditEntry = Schemas["AuditEntry"];
export type AuditVerdict = Schemas["AuditVerdict"];
export type SettingsInForce = Schemas["Settings"];
export type SqlAnswer = Schemas["SqlAnswer"];
export type Report = Schemas["Report"];
export type Severity = Incident["severity"];
export type List<T> = { items: T[]; next_cursor?: string };
