-- name: rag_empty_retrieval
-- title: Empty retrieval
-- type: RAG_EMPTY_RETRIEVAL
-- severity: medium
-- param: min_results = rag_empty_retrieval_min_results
-- param: min_score = rag_empty_retrieval_min_score
-- always: top_score
--
-- The run ended with a final answer although a retrieval found too little ($min_results) or nothing that fits
-- ($min_score). The evidence shows the one that found least.

WITH bad AS (
    SELECT t.run_id, r.step_count, t.retrieval_index, t.index_name, t.result_count, t.top_score
    FROM ingest.retrievals t
    JOIN ingest.runs r ON r.run_id = t.run_id
    WHERE r.exit_reason = 'final_answer' AND (t.result_count < $min_results OR t.top_score < $min_score)
)
SELECT
    run_id,
    step_count AS at_step,
    0.88 AS confidence,
    first_value(index_name ORDER BY result_count, retrieval_index) AS index_name,
    min(result_count) AS result_count,
    first_value(top_score ORDER BY result_count, retrieval_index) AS top_score,
    count(*) AS bad_retrievals
FROM bad
GROUP BY run_id, step_count
