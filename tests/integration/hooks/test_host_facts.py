"""What the hooks rest on in DataJoint. When DataJoint changes, this fails first, and says which fact is gone."""

from __future__ import annotations

import inspect
import re
from typing import Any

import datajoint as dj
import pytest
from datajoint import autopopulate, codecs, condition, declare, dependencies, expression, preview, provenance, table
from datajoint.adapters.mysql import MySQLAdapter
from datajoint.connection import Connection

from datajoint_file.errors import HostVersionError
from datajoint_file.hooks import installation
from datajoint_file.hooks.codec import FileCodec
from datajoint_file.hooks.patching import Hook, loaded


def source_of(function: Any) -> str:
    return inspect.getsource(inspect.unwrap(function))


def test_every_hooked_function_has_the_parameters_we_know() -> None:
    for hook in installation.HOOKS:
        hook.check(dj.__version__)


def test_every_wrapper_is_there_before_it_is_needed() -> None:
    for hook in installation.HOOKS:
        assert next(iter(inspect.signature(loaded(hook.wrapper)).parameters)) == "original"


def test_a_function_that_changed_is_named() -> None:
    hook = Hook(Connection, "register", ("self", "schema", "new_parameter"), "")
    with pytest.raises(HostVersionError, match=r"Connection.register has the parameters \('self', 'schema'\)"):
        hook.check("9.9")
    with pytest.raises(HostVersionError, match=r"Connection.no_such_function is missing"):
        Hook(Connection, "no_such_function", (), "").check("9.9")


def test_declare_and_alter_both_parse_through_prepare_declare() -> None:
    assert "prepare_declare(definition" in source_of(declare.declare)
    assert source_of(declare.alter).count("prepare_declare(") == 2


def test_table_that_is_altered_is_found_where_we_look_for_it() -> None:
    assert table.alter.__wrapped__ is declare.alter
    assert source_of(table.Table.alter).count(" = alter(\n") == 1
    assert next(iter(inspect.signature(table.Table.alter).parameters)) == "self"


def test_definitions_are_split_as_we_split_them() -> None:
    assert r"""re.split(r"\s*\n\s*", definition.strip())""" in source_of(declare.prepare_declare)


def test_prepare_declare_returns_key_and_attributes_where_we_look(instance: dj.Instance) -> None:
    parsed = declare.prepare_declare("k : int32\n---\nday : date", {}, instance.connection.adapter)
    assert parsed[1] == ["k"]
    assert [re.split(r"[`\"\s]+", sql.strip().lstrip('`"'))[0] for sql in parsed[2]] == ["k", "day"]


def test_inserts_go_through_insert_rows_one_statement_at_a_time() -> None:
    assert source_of(table.Table.insert).count("self._insert_rows(") == 2
    assert source_of(table.Table._insert_rows).count("self.connection.query(") == 1


def test_replace_is_sent_to_postgresql_unchanged() -> None:
    """When this fails, DataJoint replaces on PostgreSQL itself, and `Statement.delete_existing` can go."""
    assert 'command = "REPLACE" if replace else "INSERT"' in source_of(table.Table._insert_rows)


def test_update1_gives_codecs_no_primary_key() -> None:
    assert "self.__make_placeholder(k, v)" in source_of(table.Table.update1)


def test_codecs_are_offered_what_their_signature_names() -> None:
    assert codecs._accepts_kwarg(FileCodec.encode, "context")
    assert codecs._accepts_kwarg(FileCodec.decode, "context")


def test_decode_is_given_the_configuration_of_the_connection(instance: dj.Instance) -> None:
    assert 'decode_context = {"config": connection._config}' in source_of(codecs.decode_attribute)
    assert instance.connection._config is instance.config


def test_the_codec_is_found_by_its_entry_point() -> None:
    assert "file" in dj.list_codecs()
    assert isinstance(codecs.get_codec("<file>"), FileCodec)


def test_validate_serialises_what_a_codec_accepts() -> None:
    """When this fails, the hook on ``Table.validate`` can go."""
    assert "json.dumps(value)" in source_of(table.Table.validate)


def test_schemas_are_registered_with_their_connection_when_activated() -> None:
    assert "self.connection.register(self)" in source_of(dj.schemas._Schema.activate)


def test_restrictions_of_every_form_come_to_make_condition_of_their_module() -> None:
    """It calls itself by that name for the rows of a list or frame, and so the hook."""
    assert source_of(condition.make_condition).count("make_condition(query_expression, ") == 2
    assert "new_condition = make_condition(" in source_of(expression.QueryExpression.restrict)


def test_datajoint_takes_for_text_what_stands_between_quotes_of_comments_too() -> None:
    """`Dialect.concealed` rests on it: names of other tables would be taken for attributes in a cascade."""
    hidden = "/*'*/ (`k`) IN (SELECT `k` FROM `lab`.`~tag__recording` WHERE `~tag` IN (_utf8mb4 0x61)) /*'*/"
    assert condition.extract_column_names(hidden) == set()
    assert condition.extract_column_names("`k` = 1 AND other = 2") == {"k", "other"}


def test_a_make_runs_in_populate1_and_is_noted_by_datajoint_meanwhile() -> None:
    source = source_of(autopopulate.AutoPopulate._populate1)
    assert source.index("provenance.set_ingesting(") < source.index("make(dict(key)")
    assert provenance._ingesting.get() is None
    with provenance.ingesting("`lab`.`__spikes`", {"k": 1}, "v"):
        assert provenance._ingesting.get() == {"table": "`lab`.`__spikes`", "key": {"k": 1}, "version": "v"}


def test_hidden_tables_come_into_the_graph_by_load_alone() -> None:
    """On MySQL, whose query leaves out what is referred to by such a name, and not what refers."""
    assert "add_edge" not in source_of(dependencies.Dependencies).replace(source_of(dependencies.Dependencies.load), "")
    mysql = source_of(MySQLAdapter.load_foreign_keys_sql)
    assert "WHERE referenced_table_name NOT LIKE {like_pattern}" in mysql


def test_datajoint_negates_the_first_of_several_conditions_only() -> None:
    """When this fails, `restrictions` need not negate by itself."""
    assert "f\"{'NOT ' if negate else ''} ({')AND('.join(conditions)})\"" in source_of(condition.make_condition)


@pytest.mark.parametrize("name", ["to_arrow", "to_polars"])
def test_arrow_and_polars_are_made_of_dictionaries_and_need_nothing_else_of_the_query(name: str) -> None:
    source = source_of(getattr(expression.QueryExpression, name))
    assert source.count("self.") == source.count("self.to_dicts(") == 1


@pytest.mark.parametrize("hooked", ["preview", "repr_html"])
def test_tables_are_printed_of_what_we_give_in_the_place_of_a_query(hooked: str) -> None:
    """Its heading, key, connection and length, and arrays of all but blobs and JSON; values go where they belong."""
    own = inspect.unwrap(getattr(expression, hooked))
    assert own is getattr(preview, hooked)
    source = source_of(own)
    assert set(re.findall(r"query_expression\.(\w+)", source)) <= {"heading", "connection", "proj", "primary_key"}
    assert "rel = query_expression.proj(*heading.non_blobs)" in source
    assert set(re.findall(r"\brel\.(\w+)", source)) <= {"to_arrays", "primary_key"}
    assert "in tuples.dtype.names" in source or "in tup.dtype.names" in source
    assert f"return {hooked}(self" in source_of(expression.QueryExpression.preview) + source_of(
        expression.QueryExpression._repr_html_
    )


def test_attribute_without_codec_is_fetched_as_the_database_has_it() -> None:
    source = source_of(codecs.decode_attribute)
    assert "if attr.codec:" in source
    assert "if attr.json:" in source


def test_aggregation_is_known_by_its_class() -> None:
    assert "Aggregation.create(self, group=" in source_of(expression.QueryExpression.aggr)
    assert "copy.copy(self)" in source_of(expression.QueryExpression.proj)
