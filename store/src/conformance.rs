//! The promises of the store, as functions over [`Store`]: whatever implements the traits must keep them.
//!
//! Each `pub async fn` takes a fresh, empty store and panics when the promise in its name is broken. An
//! implementation runs them all through [`for_each_promise`](crate::for_each_promise), which hands their list to a
//! macro that makes a test of each:
//!
//! ```text
//! macro_rules! tests {
//!     ($($module:ident { $($name:ident,)* })*) => {$(mod $module {$(
//!         #[tokio::test(flavor = "multi_thread")]
//!         async fn $name() { tripline_store::conformance::$module::$name(fresh_store()).await }
//!     )*})*};
//! }
//! tripline_store::for_each_promise!(tests);
//! ```
//! The runtime must have more than one thread, or the promises about concurrency promise little.

#![allow(missing_docs, reason = "the name of each function is its promise")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a conformance suite is test code in a library")]

pub mod actions;
pub mod approvals;
pub mod audit;
pub mod door;
pub mod events;
pub mod fixtures;
pub mod incidents;
pub mod jobs;
pub mod modes;
pub mod observations;
pub mod runs;
pub mod sessions;
pub mod told;

#[cfg(doc)]
use crate::model::Store;

/// Calls a macro with the list of all promises, by module.
#[macro_export]
macro_rules! for_each_promise {
    ($macro:ident) => {
        $macro! {
            incidents {
                the_same_finding_is_kept_once,
                the_first_finding_opens_an_incident,
                a_condition_that_lasts_is_one_incident_with_occurrences,
                of_windows_that_overlap_only_what_is_new_in_them_costs,
                severity_only_rises,
                the_same_window_judged_twice_counts_once,
                many_findings_at_once_open_one_incident,
                three_clean_windows_resolve_an_incident,
                a_clean_window_judged_twice_counts_once,
                being_seen_starts_the_count_of_clean_windows_anew,
                clean_windows_of_another_detector_resolve_nothing,
                it_reopens_within_seven_days_and_not_a_microsecond_later,
                an_old_window_judged_late_changes_no_verdict,
                an_investigation_reads_back_and_keeps_the_message,
                the_filter_applies_before_the_limit,
                pages_neither_repeat_nor_skip,
                another_project_sees_nothing,
                evidence_is_replaced_as_a_whole,
                an_unknown_source_stays_unknown,
            }
            approvals {
                of_a_hundred_claims_at_once_exactly_one_wins,
                a_claim_counts_until_the_last_microsecond,
                a_claim_for_another_payload_is_refused_and_changes_nothing,
                a_decision_stands_for_ever,
                asking_again_while_pending_returns_the_same_approval,
                asking_again_after_its_time_expires_the_old_one,
                the_expiry_job_and_a_claim_never_both_win,
                approving_puts_exactly_the_approved_payload_in_the_outbox,
                rejecting_puts_nothing_in_the_outbox,
                an_approval_of_another_project_cannot_be_claimed,
                a_policy_decides_through_the_same_claim,
                statistics_count_each_outcome_and_only_people_take_time,
                every_attempt_to_decide_is_on_the_record,
            }
            actions {
                one_key_is_one_action,
                of_many_executors_one_gets_an_action,
                due_actions_come_oldest_first_and_not_before_their_time,
                an_interrupted_attempt_is_resumed_and_its_old_holder_fenced_off,
                a_renewed_lease_is_not_taken_away,
                an_action_is_retried_until_its_attempts_are_used_up,
                a_dependent_waits_for_the_first_to_be_done,
                what_depends_on_a_failed_action_fails_too,
                an_unknown_action_is_never_sent_again_by_itself,
                a_kill_is_done_only_when_the_agent_says_so,
                a_kill_of_several_runs_is_done_when_the_last_of_them_or_the_trace_itself_has_stopped,
                an_agent_faster_than_the_outbox_loses_nothing,
                a_kill_is_found_with_and_without_dashes,
                asking_twice_to_kill_keeps_the_first_record,
                an_executor_takes_only_its_kinds,
                an_executor_takes_only_its_types,
                in_order_a_notification_waits_for_the_older_ones_to_its_target,
                each_transition_is_on_the_record,
            }
            audit {
                a_log_of_any_length_verifies,
                an_anchor_from_the_same_log_fits_and_another_does_not,
                each_project_has_a_log_of_its_own,
                rows_are_listed_newest_first_by_subject,
                appends_at_once_form_one_chain,
            }
            jobs {
                one_run_of_a_job_at_a_time,
                a_run_that_stops_without_a_word_is_abandoned_and_the_next_may_begin,
                a_heartbeat_keeps_a_run_alive,
                finishing_advances_the_watermark_in_one_step,
                a_window_with_a_gap_advances_nothing,
                a_watermark_never_goes_back,
                whoever_lost_a_run_cannot_finish_it,
                attempts_at_one_window_are_counted,
                runs_are_listed_by_job_and_status,
                old_runs_are_let_go_and_the_newest_of_each_job_stays,
                a_run_that_found_nothing_to_do_leaves_no_row,
            }
            observations {
                one_hour_is_one_row_however_often_it_is_observed,
                a_part_of_an_hour_never_replaces_the_whole,
                an_hour_without_cost_is_told_from_an_unknown_hour,
                senseless_hours_are_refused,
                a_schema_gets_a_version_only_when_it_changes,
            }
            events {
                an_event_is_kept_once_by_id_or_by_content,
                a_batch_answers_for_each_of_its_events,
                events_read_back_as_they_came_numbered_in_their_order,
                a_filter_wants_what_it_says,
                an_event_of_yesterday_is_known_and_one_of_the_day_before_is_new,
                many_senders_at_once_lose_nothing_and_double_nothing,
                nobody_sees_the_events_of_another_project,
            }
            runs {
                a_run_waits_until_its_end_settled_or_it_fell_silent,
                a_verdict_is_kept_once,
                a_stalled_run_that_ends_gets_only_what_is_new,
                a_stalled_run_that_goes_on_and_falls_silent_again_is_judged_with_what_came,
                what_comes_of_a_run_after_its_verdict_is_judged_too_once_it_settled,
                five_clean_runs_of_the_same_agent_end_an_incident_and_it_comes_back,
                a_signal_in_shadow_opens_nothing_and_is_told_to_nobody,
                rates_are_of_all_judged_runs,
                a_fix_is_judged_by_the_runs_after_it,
                a_failure_found_on_trial_comes_back_on_trial,
                the_newest_signal_of_each_incident_is_found,
                what_runs_are_compared_with_comes_oldest_first,
                another_project_sees_no_verdict,
                a_run_that_a_failing_detector_did_not_judge_is_not_clean_and_is_judged_when_it_works,
                a_run_that_is_judged_again_is_read_from_where_it_began,
            }
            door {
                a_fresh_installation_has_one_project,
                a_project_id_is_unique_and_well_formed,
                a_key_verifies_until_it_is_revoked,
                a_link_signs_in_once_and_a_session_ends_with_its_time_or_its_key,
                a_key_ends_when_it_was_said_to_and_its_sessions_with_it,
                a_key_carries_its_project_and_scopes,
                two_live_keys_never_share_a_name,
                the_secret_is_nowhere_but_in_the_answer,
                a_signature_is_accepted_once_within_its_time,
                of_many_equal_signatures_at_once_one_is_accepted,
            }
            sessions {
                a_session_begun_twice_with_one_key_is_one_session,
                an_event_is_kept_once_within_the_window_whatever_the_time_says,
                a_window_of_nothing_tells_by_the_very_time,
                of_many_equal_batches_at_once_each_event_is_kept_once,
                an_id_of_an_event_is_given_once,
                after_the_end_only_events_from_before_it_are_kept,
                a_session_does_not_end_before_it_began,
                events_of_a_session_that_is_not_there_are_refused_and_the_others_kept,
                events_are_listed_by_time_and_pages_neither_repeat_nor_skip,
                another_project_sees_no_session_of_ours_and_may_use_its_key,
                what_is_processed_waits_no_longer_unless_events_came_meanwhile,
                an_ended_session_is_processed_at_once_and_then_waits_for_its_deep_analysis,
                light_insights_stay_until_the_deep_analysis_judges_the_whole,
                deriving_again_changes_no_byte_and_no_event,
                counts_and_top_clusters_are_of_one_session,
            }
            modes {
                a_commit_is_measured_once,
                history_is_a_row_per_file_and_commit_with_its_score,
                a_pull_request_waits_once_and_one_asked_anew_meanwhile_stays,
                a_pull_request_has_one_newest_score,
                a_sample_is_kept_whole_and_a_pattern_with_its_first_trace,
                patterns_are_remembered_while_they_are_used_and_so_many_of_a_feature,
                reading_a_time_again_replaces_what_traces_did_in_it,
                another_project_has_a_memory_of_its_own,
            }
            told {
                a_week_has_one_digest_however_often_it_is_made,
                explanations_are_counted_by_key_and_with_all_that_models_were_asked,
                what_models_were_asked_is_counted_since_a_time,
                a_person_has_one_verdict_about_an_incident_and_the_newest_of_all_counts,
                feedback_is_on_the_record_once,
                another_project_is_told_nothing,
            }
        }
    };
}
