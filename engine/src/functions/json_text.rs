//! `->`, `#>` and `json_get` as JSON text.
//!
//! The functions of `datafusion-functions-json` give a union of all JSON types, which no output can write and nothing
//! can group, compare or join. Here the value is its JSON text, as PostgreSQL shows it: a text keeps its quotes, what is
//! missing is NULL, and a JSON null is `null`.
//!
//! Owns: the function, the operators that stand for it, and what becomes of casts and comparisons: `(j->'n')::int` and
//! `j->'n' > 10` read the number, and are NULL where there is none.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::expr::{Between, Cast, InList, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, try_cast,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use datafusion_functions_json::udfs;

/// The name in SQL; the library's function of this name is replaced.
const NAME: &str = "json_get";
/// Holds all integers of 64 bits, and fractions to compare them with.
const NUMBER: DataType = DataType::Decimal128(38, 18);

/// `state` with all JSON functions.
///
/// # Errors
/// When the functions cannot be registered.
pub(crate) fn register(mut state: SessionState) -> Result<SessionState> {
    let before = state.expr_planners().len();
    datafusion_functions_json::register_all(&mut state)?;
    let function = Arc::new(ScalarUDF::from(JsonGet { inner: udfs::json_get_json_udf() }));
    state.register_udf(Arc::clone(&function))?;
    state.register_function_rewrite(Arc::new(ReadTyped))?;
    let planners = state.expr_planners().iter().enumerate().map(|(position, planner)| -> Arc<dyn ExprPlanner> {
        match position >= before {
            true => Arc::new(Arrows { inner: Arc::clone(planner), function: Arc::clone(&function) }),
            false => Arc::clone(planner),
        }
    });
    let planners = planners.collect();
    Ok(SessionStateBuilder::new_from_existing(state).with_expr_planners(planners).build())
}

/// `json_get(json, key or index, …)`: JSON text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonGet {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for JsonGet {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        Ok(Arc::new(field.as_ref().clone().with_name(NAME)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner.inner().placement(args)
    }
}

/// The library's operators, with our function in place of its own.
#[derive(Debug)]
struct Arrows {
    inner: Arc<dyn ExprPlanner>,
    function: Arc<ScalarUDF>,
}

impl ExprPlanner for Arrows {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let planned = match self.inner.plan_binary_op(expr, schema)? {
            PlannerResult::Planned(planned) => planned,
            // The planner takes no comparison of a text with a truth value.
            PlannerResult::Original(RawBinaryExpr { op, left, right }) if is_comparison(&op) => {
                let named = |side: &Expr, other: &Expr| {
                    let name = side.schema_name().to_string();
                    compared(side, &[other], schema).map(|read| read.alias(name))
                };
                let (of_left, of_right) = (named(&left, &right), named(&right, &left));
                let (left, right) = (of_left.unwrap_or(left), of_right.unwrap_or(right));
                return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
            }
            original => return Ok(original),
        };
        let planned = planned.transform_up(|expr| match expr {
            Expr::ScalarFunction(call) if call.func.name() == NAME => {
                let call = ScalarFunction { func: Arc::clone(&self.function), args: call.args };
                Ok(Transformed::yes(Expr::ScalarFunction(call)))
            }
            other => Ok(Transformed::no(other)),
        });
        Ok(PlannerResult::Planned(planned.data()?))
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// Reads a number or a truth value where one is wanted, and follows a chain of keys in one go.
#[derive(Debug)]
struct ReadTyped;

impl FunctionRewrite for ReadTyped {
    fn name(&self) -> &'static str {
        "TriplineJsonReadTyped"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        Ok(match expr {
            Expr::Cast(cast) => match found(&cast.expr).and_then(|args| reader(cast.field.data_type(), args)) {
                Some(read) => Transformed::yes(Expr::Cast(Cast { expr: Box::new(read), ..cast })),
                None => Transformed::no(Expr::Cast(cast)),
            },
            Expr::TryCast(cast) => match found(&cast.expr).and_then(|args| reader(cast.field.data_type(), args)) {
                Some(read) => Transformed::yes(Expr::TryCast(TryCast { expr: Box::new(read), ..cast })),
                None => Transformed::no(Expr::TryCast(cast)),
            },
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
                let (of_left, of_right) = (compared(&left, &[&right], schema), compared(&right, &[&left], schema));
                let changed = of_left.is_some() || of_right.is_some();
                let left = of_left.map_or(left, Box::new);
                let right = of_right.map_or(right, Box::new);
                Transformed::new_transformed(Expr::BinaryExpr(BinaryExpr { left, op, right }), changed)
            }
            Expr::InList(list) => {
                let others: Vec<&Expr> = list.list.iter().collect();
                match compared(&list.expr, &others, schema) {
                    Some(read) => Transformed::yes(Expr::InList(InList { expr: Box::new(read), ..list })),
                    None => Transformed::no(Expr::InList(list)),
                }
            }
            Expr::Between(between) => match compared(&between.expr, &[&between.low, &between.high], schema) {
                Some(read) => Transformed::yes(Expr::Between(Between { expr: Box::new(read), ..between })),
                None => Transformed::no(Expr::Between(between)),
            },
            Expr::ScalarFunction(call) => match in_one_go(&call) {
                Some(args) => Transformed::yes(Expr::ScalarFunction(ScalarFunction { args, ..call })),
                None => Transformed::no(Expr::ScalarFunction(call)),
            },
            other => Transformed::no(other),
        })
    }
}

/// The arguments of our function, if `expr` is a call of it.
fn found(expr: &Expr) -> Option<&Vec<Expr>> {
    match expr {
        Expr::Alias(alias) => found(&alias.expr),
        Expr::ScalarFunction(call) => (call.func.inner().is::<JsonGet>()).then_some(&call.args),
        _ => None,
    }
}

fn call(func: Arc<ScalarUDF>, args: &[Expr]) -> Expr {
    Expr::ScalarFunction(ScalarFunction { func, args: args.to_vec() })
}

/// What reads the value at `args` for a cast to `wanted`. A text is read without its quotes, as `->>` does.
fn reader(wanted: &DataType, args: &[Expr]) -> Option<Expr> {
    let func = match wanted {
        DataType::Boolean => udfs::json_get_bool_udf(),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => udfs::json_get_float_udf(),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            return Some(number(args));
        }
        integer if integer.is_integer() => udfs::json_get_int_udf(),
        nested if nested.is_nested() => return None,
        _ => udfs::json_as_text_udf(),
    };
    Some(call(func, args))
}

/// The number at `args`, NULL when another thing is there.
fn number(args: &[Expr]) -> Expr {
    try_cast(call(udfs::json_get_json_udf(), args), NUMBER)
}

/// What reads `side` so that it compares with `others`; `None` when the text itself does.
fn compared(side: &Expr, others: &[&Expr], schema: &DFSchema) -> Option<Expr> {
    let args = found(side)?;
    let types: Option<Vec<DataType>> = others.iter().map(|other| other.get_type(schema).ok()).collect();
    let types: Vec<DataType> = types?.into_iter().filter(|kind| *kind != DataType::Null).collect();
    let all = |is: fn(&DataType) -> bool| !types.is_empty() && types.iter().all(is);
    if all(|kind| *kind == DataType::Boolean) {
        Some(call(udfs::json_get_bool_udf(), args))
    } else if all(DataType::is_numeric) {
        let read =
            if types.iter().any(DataType::is_floating) { call(udfs::json_get_float_udf(), args) } else { number(args) };
        Some(read)
    } else {
        None
    }
}

/// `f(json_get(j, 'a'), 'b')` is `f(j, 'a', 'b')`, where the keys are constants.
fn in_one_go(outer: &ScalarFunction) -> Option<Vec<Expr>> {
    const READERS: [&str; 7] =
        [NAME, "json_get_bool", "json_get_float", "json_get_int", "json_get_json", "json_get_str", "json_as_text"];
    let (first, keys) = outer.args.split_first()?;
    if !READERS.contains(&outer.func.name()) {
        return None;
    }
    let args: Vec<Expr> = found(first)?.iter().chain(keys).cloned().collect();
    args.iter().skip(1).all(|key| matches!(key, Expr::Literal(..))).then_some(args)
}
