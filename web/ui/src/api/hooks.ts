// What the pages read. The first word of a key says what makes it old (live.ts): everything but `still` does.
import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { get, post, seg, withParams } from "./client";
import type {
  Action, Approval, ApprovalStats, AuditRows, AuditVerdict, Detector, Incident, IncidentDetail, Job, JobRun, List, Session,
  SettingsInForce, Sources, SqlAnswer,
} from "./types";

type Filter = Record<string, string | number | undefined>;

/** Anything that is read with GET, by its address. */
export function useGet<T>(path: string, options: { enabled?: boolean; keep?: boolean; still?: boolean } = {}) {
  return useQuery({
    queryKey: [options.still ? "still" : "live", path],
    queryFn: ({ signal }) => get<T>(path, signal),
    enabled: options.enabled ?? true,
    placeholderData: options.keep ? keepPreviousData : undefined,
  });
}

/** A listing, page after page. */
export function useListing<T>(path: string, filter: Filter = {}) {
  return useInfiniteQuery({
    queryKey: ["live", path, filter],
    queryFn: ({ signal, pageParam }) => get<List<T>>(withParams(path, { ...filter, cursor: pageParam }), signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor,
  });
}

/** Pages after which a listing is not read any further by itself: ten thousand rows. */
const MOST_PAGES = 100;

/** A listing that is read to its end, so that what is counted is all of it; `whole` says whether it is. */
export function useWhole<T>(path: string, filter: Filter = {}) {
  const listing = useListing<T>(path, { ...filter, limit: 100 });
  const { hasNextPage, isFetching, isError, fetchNextPage } = listing;
  const pages = listing.data?.pages.length ?? 0;
  useEffect(() => {
    if (hasNextPage && !isFetching && !isError && pages < MOST_PAGES) void fetchNextPage();
  }, [hasNextPage, isFetching, isError, fetchNextPage, pages]);
  return { listing, items: listing.data?.pages.flatMap((page) => page.items), whole: listing.isSuccess && !hasNextPage };
}

export const useSession = () => useQuery({ queryKey: ["session"], queryFn: ({ signal }) => get<Session>("/api/v1/session", signal), staleTime: 30_000, retry: false });
export const useIncidents = (filter: Filter = {}) => useListing<Incident>("/api/v1/incidents", filter);
export const useOpenIncidents = () => useWhole<Incident>("/api/v1/incidents", { status: "open" });
export const useIncident = (id: string) => useGet<IncidentDetail>(`/api/v1/incidents/${seg(id)}`);
export const useApprovals = (filter: Filter = {}) => useListing<Approval>("/api/v1/approvals", filter);
export const usePendingApprovals = () => useWhole<Approval>("/api/v1/approvals", { status: "pending" });
export const useApproval = (id: string) => useGet<Approval>(`/api/v1/approvals/${seg(id)}`);
export const useApprovalStats = () => useGet<ApprovalStats>("/api/v1/approvals/stats");
export const useActions = (filter: Filter = {}) => useListing<Action>("/api/v1/actions", filter);
export const useSources = () => useQuery({ queryKey: ["sources"], queryFn: ({ signal }) => get<Sources>("/api/v1/sources", signal) });
export const useJobs = () => useGet<{ items: Job[] }>("/api/v1/jobs");
export const useJobRuns = (name: string) => useListing<JobRun>(`/api/v1/jobs/${seg(name)}/runs`);
export const useDetectors = () => useGet<{ items: Detector[] }>("/api/v1/detectors");
export const useAudit = (filter: Filter = {}) => useGet<AuditRows>(withParams("/api/v1/audit", filter), { keep: true });
export const useAuditVerdict = () => useGet<AuditVerdict>("/api/v1/audit/verify");
export const useSettings = () => useGet<SettingsInForce>("/api/v1/settings");

/** Rows of a query, for pages that show what no listing has. */
export function useSql(sql: string, params: Record<string, unknown> = {}, options: { enabled?: boolean } = {}) {
  return useQuery({
    queryKey: ["live", "sql", sql, params],
    queryFn: ({ signal }) => post<SqlAnswer>("/api/v1/sql", { sql, params }, signal),
    enabled: options.enabled ?? true,
  });
}
