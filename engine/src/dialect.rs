//! The SQL that Tripline reads: DataFusion's generic dialect, with PostgreSQL's precedence where the two differ.
//!
//! The generic dialect binds `->`, `->>` and their like looser than `=`, so that `extra->>'a' = 'x'` would be
//! `extra->>('a' = 'x')`. PostgreSQL binds "other operators" tighter than comparisons, `BETWEEN`, `IN` and `LIKE`, and looser
//! than `+` and `-` (PostgreSQL manual, 4.1.6). Its own dialect would not do: it knows no `* EXCLUDE (…)`, no `LIMIT 5, 10`
//! and much else that the generic one reads.

use std::any::TypeId;
use std::collections::VecDeque;

use datafusion::config::SqlParserOptions;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence, dialect_from_str};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::error::EngineError;

/// Between `+` and `BETWEEN` on the generic scale.
const OTHER_OPERATORS: u8 = 25;

/// The statements of a text, in the dialect of `options`; `generic` is [`TriplineDialect`].
///
/// # Errors
/// [`EngineError::Query`] with line and column.
pub(crate) fn parse(sql: &str, options: &SqlParserOptions) -> Result<VecDeque<Statement>, EngineError> {
    let name: &str = options.dialect.as_ref();
    let dialect: Box<dyn Dialect> = if name.eq_ignore_ascii_case("generic") {
        Box::new(TriplineDialect)
    } else {
        dialect_from_str(name).ok_or_else(|| EngineError::Execution(format!("there is no SQL dialect {name}")))?
    };
    DFParserBuilder::new(sql)
        .with_dialect(dialect.as_ref())
        .with_recursion_limit(options.recursion_limit.get())
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(EngineError::from)
}

/// See the module.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct TriplineDialect;

/// What the generic dialect allows, allowed.
macro_rules! as_generic {
    ($($name:ident)*) => { $(fn $name(&self) -> bool { GenericDialect.$name() })* };
}

impl Dialect for TriplineDialect {
    /// Code that asks for the dialect by its type takes this one for the generic one.
    fn dialect(&self) -> TypeId {
        GenericDialect.dialect()
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        match precedence {
            Precedence::PgOther => OTHER_OPERATORS,
            other => GenericDialect.prec_value(other),
        }
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        match parser.peek_token_ref().token {
            // `a->>'b' || 'c'` is `(a->>'b') || 'c'`.
            Token::StringConcat => Some(Ok(OTHER_OPERATORS)),
            _ => GenericDialect.get_next_precedence(parser),
        }
    }

    /// The parser itself would read the right side of `IS [NOT] DISTINCT FROM` up to the end of the condition, `AND` and
    /// `OR` included.
    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        let is_distinct = if parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
            Expr::IsDistinctFrom
        } else if parser.parse_keywords(&[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM]) {
            Expr::IsNotDistinctFrom
        } else {
            return None;
        };
        let right = parser.parse_subexpr(precedence);
        Some(right.map(|right| is_distinct(Box::new(expr.clone()), Box::new(right))))
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    as_generic! {
        supports_unicode_string_literal
        supports_partition_by_after_order_by
        supports_array_join_syntax
        supports_group_by_expr
        supports_group_by_with_modifier
        supports_left_associative_joins_without_parens
        supports_connect_by
        supports_match_recognize
        supports_pipe_operator
        supports_start_transaction_modifier
        supports_window_function_null_treatment_arg
        supports_dictionary_syntax
        supports_window_clause_named_window_reference
        supports_parenthesized_set_variables
        supports_select_wildcard_except
        support_map_literal_syntax
        allow_extract_custom
        allow_extract_single_quotes
        supports_extract_comma_syntax
        supports_create_view_comment_syntax
        supports_parens_around_table_factor
        supports_values_as_table_factor
        supports_create_index_with_clause
        supports_explain_with_utility_options
        supports_limit_comma
        supports_update_order_by
        supports_from_first_select
        supports_projection_trailing_commas
        supports_asc_desc_in_column_definition
        supports_try_convert
        supports_bitwise_shift_operators
        supports_comment_on
        supports_load_extension
        supports_named_fn_args_with_assignment_operator
        supports_struct_literal
        supports_empty_projections
        supports_nested_comments
        supports_multiline_comment_hints
        supports_user_host_grantee
        supports_string_escape_constant
        supports_array_typedef_with_brackets
        supports_match_against
        supports_set_names
        supports_comma_separated_set_assignments
        supports_filter_during_aggregation
        supports_select_wildcard_exclude
        supports_data_type_signed_suffix
        supports_interval_options
        supports_quote_delimited_string
        supports_select_wildcard_replace
        supports_select_wildcard_ilike
        supports_select_wildcard_rename
        supports_optimize_table
        supports_install
        supports_detach
        supports_prewhere
        supports_with_fill
        supports_limit_by
        supports_interpolate
        supports_settings
        supports_select_format
        supports_comment_optimizer_hint
        supports_constraint_keyword_without_name
        supports_key_column_option
        supports_comma_separated_trim
        supports_cte_without_as
        supports_select_item_multi_column_alias
        supports_xml_expressions
    }
}
