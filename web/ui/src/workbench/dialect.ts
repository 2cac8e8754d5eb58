// The words of the SQL that the engine takes: what it does not know is not offered either.
import { SQLDialect } from "@codemirror/lang-sql";

export const dialect = SQLDialect.define({
  keywords: "all analyze and anti any array as asc at between by case cast coalesce cross current_date current_time current_timestamp day days desc describe distinct else end escape exists except exclude explain extract false fetch filter first following for format from full group grouping having hour hours ilike in inner interval intersect into is join last lateral left like limit minute minutes month months natural not null nulls offset on only or order ordinality outer over overlaps partition position preceding qualify range recursive replace reset right rollup row rows second seconds select semi sets set show similar some substring table tablesample then ties time to trim true try_cast unbounded union unnest using values verbose week weeks when where window with within without year years zone",
  types: "bigint bigint unsigned binary boolean bytea char date decimal double float int integer json numeric precision real smallint string text time timestamp timestamptz tinyint unsigned uuid varchar",
  operatorChars: "+-*/<>=~!@#%^&|`?",
  identifierQuotes: "\"",
  caseInsensitiveIdentifiers: true,
});
