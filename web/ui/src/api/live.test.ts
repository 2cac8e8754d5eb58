import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { expect, test } from "vitest";
import { sourcesAgain } from "./live";

test("the server's time is read before its sources are, so that none of them answered in the future", async () => {
  const client = new QueryClient();
  const read: string[] = [];
  const observe = (key: string) => new QueryObserver(client, { queryKey: [key], staleTime: Infinity, queryFn: async () => { await Promise.resolve(); read.push(key); return read.length; } }).subscribe(() => undefined);
  const stop = [observe("sources"), observe("session")];
  await expect.poll(() => read.length).toBe(2);
  read.length = 0;
  await sourcesAgain(client);
  expect(read).toEqual(["session", "sources"]);
  for (const each of stop) each();
});
