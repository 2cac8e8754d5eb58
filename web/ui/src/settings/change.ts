// Changing a setting: the change is sent, and what is in force afterwards is what the server answered.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { write } from "../api/client";
import type { SettingsChanged } from "../api/types";

export type Values = Record<string, unknown>;

/** A change of one value, with the objects that it lies in. */
export const patch = (path: string[], value: unknown) => path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Values;

const isObject = (value: unknown): value is Values => typeof value === "object" && value !== null && !Array.isArray(value);

/** What has to be sent for `before` to become `after`: objects by key, `null` for what is gone; undefined when nothing differs. */
export function difference(before: unknown, after: unknown): unknown {
  if (!isObject(before) || !isObject(after)) return JSON.stringify(before) === JSON.stringify(after) ? undefined : after;
  const changes: Values = {};
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const change = key in after ? difference(before[key], after[key]) : before[key] === null ? undefined : null;
    if (change !== undefined) changes[key] = change;
  }
  return Object.keys(changes).length ? changes : undefined;
}

export function useChange() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (change: Values) => write<SettingsChanged>("PATCH", "/api/v1/settings", change),
    onSuccess: (answer) => { client.setQueryData(["live", "/api/v1/settings"], { settings: answer.settings, reload: answer.reload }); },
  });
}
