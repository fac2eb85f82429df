/** Declarations and statements: from the concrete tree to the syntax tree. What could not be read is not in either. */
import type * as cst from "../../../grammar/cst.ts";
import type * as ast from "../ast.ts";
import type { Problem } from "../report/problem.ts";
import { ExpressionBuilder } from "./expressions.ts";

/** The syntax tree of a file of `length` characters. */
export function build(root: cst.ProgramCstNode, file: string, length: number): { program: ast.Program; problems: Problem[] } {
  const builder = new TreeBuilder(file);
  return { program: builder.program(root, length), problems: builder.problems };
}

class TreeBuilder extends ExpressionBuilder {
  program(node: cst.ProgramCstNode, length: number): ast.Program {
    const items = (node.children.Item ?? []).map((i) => this.item(i));
    return {
      kind: "Program",
      imports: items.filter((i) => i.kind === "Import"),
      items,
      span: { file: this.file, start: 0, end: length },
    };
  }

  private item(node: cst.ItemCstNode): ast.Item {
    const c = node.children;
    if (c.Import) return this.import(c.Import[0]);
    if (c.Type) return this.type(c.Type[0]);
    if (c.Role) return this.role(c.Role[0]);
    if (c.Module) return this.module(c.Module[0]);
    if (c.Method) return this.method(c.Method[0]);
    if (c.Function) return this.function(c.Function[0]);
    return this.statement(c.Statement![0]);
  }

  private import(node: cst.ImportCstNode): ast.Import {
    const c = node.children;
    const names = (c.ImportName ?? []).map((n): ast.ImportName => {
      const [name, as] = n.children.Name;
      return { kind: "ImportName", name: this.name(name), as: as && this.name(as), span: this.spanOf(n) };
    });
    return { kind: "Import", names, from: this.string(c.Text[0]), span: this.spanOf(node) };
  }
  private type(node: cst.TypeCstNode): ast.Type {
    const c = node.children;
    return { kind: "Type", name: this.name(c.Name[0]), fields: this.fields(c.Fields[0]), span: this.spanOf(node) };
  }
  private role(node: cst.RoleCstNode): ast.Role {
    const c = node.children;
    const [name, parent] = c.Name;
    return {
      kind: "Role",
      name: this.name(name),
      parent: parent && this.name(parent),
      fields: c.Fields ? this.fields(c.Fields[0]) : [],
      span: this.spanOf(node),
    };
  }
  private fields(node: cst.FieldsCstNode): ast.Field[] {
    return (node.children.Field ?? []).map((f) => this.field(f));
  }
  private field(node: cst.FieldCstNode): ast.Field {
    const c = node.children;
    return {
      kind: "Field",
      name: this.name(c.Name[0]),
      type: this.typeRef(c.TypeRef[0]),
      start: c.Expr && this.expr(c.Expr[0]),
      span: this.spanOf(node),
    };
  }

  private module(node: cst.ModuleCstNode): ast.Module {
    const c = node.children;
    return {
      kind: "Module",
      name: this.name(c.Name[0]),
      params: this.params(c.Params[0]),
      fills: this.fills(c.Roles?.[0]),
      members: this.members(c.Members[0]),
      span: this.spanOf(node),
    };
  }
  private method(node: cst.MethodCstNode): ast.Method {
    const c = node.children;
    return {
      kind: "Method",
      name: this.name(c.Name[0]),
      params: this.params(c.Params[0]),
      on: this.typeRef(c.TypeRef[0]),
      fills: this.fills(c.Roles?.[0]),
      members: this.members(c.Members[0]),
      span: this.spanOf(node),
    };
  }
  private fills(node: cst.RolesCstNode | undefined): ast.Fills[] {
    return (node?.children.Fills ?? []).map((f) => ({
      kind: "Fills",
      role: this.name(f.children.Name[0]),
      names: (f.children.Filled ?? []).map((n) => ({
        kind: "Filled",
        name: this.name(n.children.Name[0]),
        path: this.path(n.children.Path[0]),
        span: this.spanOf(n),
      })),
      span: this.spanOf(f),
    }));
  }

  private members(node: cst.MembersCstNode): ast.Member[] {
    return (node.children.Member ?? []).map((m) => this.member(m));
  }
  private member(node: cst.MemberCstNode): ast.Member {
    const c = node.children;
    if (c.Parameter) return this.parameter(c.Parameter[0]);
    if (c.State) return this.state(c.State[0]);
    if (c.Input) return { kind: "Input", field: this.field(c.Input[0].children.Field[0]), span: this.spanOf(node) };
    if (c.Forward) return this.forward(c.Forward[0]);
    if (c.Function) return this.function(c.Function[0]);
    return this.statement(c.Statement![0]);
  }
  private parameter(node: cst.ParameterCstNode): ast.Parameter | ast.SharedChild {
    const c = node.children;
    const span = this.spanOf(node);
    if (c.Name) return { kind: "SharedChild", name: this.name(c.Name[0]), value: this.expr(c.Expr![0]), span };
    return { kind: "Parameter", shared: c.shared !== undefined, frozen: c.frozen !== undefined, field: this.field(c.Field![0]), span };
  }
  private state(node: cst.StateCstNode): ast.State {
    const c = node.children;
    return {
      kind: "State",
      name: this.name(c.Name[0]),
      type: c.TypeRef && this.typeRef(c.TypeRef[0]),
      start: this.expr(c.Expr[0]),
      span: this.spanOf(node),
    };
  }
  private forward(node: cst.ForwardCstNode): ast.Forward {
    const c = node.children;
    return {
      kind: "Forward",
      params: this.params(c.Params[0]),
      results: this.results(c.Results[0]),
      body: this.block(c.Block[0]),
      span: this.spanOf(node),
    };
  }
  private results(node: cst.ResultsCstNode): ast.Param[] {
    return node.children.Param.map((p) => this.param(p));
  }
  private function(node: cst.FunctionCstNode): ast.Function {
    const c = node.children;
    return {
      kind: "Function",
      name: this.name(c.Name[0]),
      params: this.params(c.Params[0]),
      results: c.Results && this.results(c.Results[0]),
      body: c.Block ? this.block(c.Block[0]) : this.expr(c.Expr![0]),
      span: this.spanOf(node),
    };
  }

  private block(node: cst.BlockCstNode): ast.Statement[] {
    return (node.children.Statement ?? []).map((s) => this.statement(s));
  }
  private statement(node: cst.StatementCstNode): ast.Statement {
    const c = node.children;
    const span = this.spanOf(node);
    if (c.Model) {
      const { Name, Expr } = c.Model[0].children;
      return { kind: "Model", name: this.name(Name[0]), value: this.expr(Expr[0]), from: Expr[1] && this.expr(Expr[1]), span };
    }
    if (c.Attach) {
      const { Name, Expr } = c.Attach[0].children;
      const [value, to, expect] = Expr.map((e) => this.expr(e));
      return { kind: "Attach", name: this.name(Name[0]), value, to, expect, span };
    }
    if (c.Detach) return { kind: "Detach", selection: this.expr(c.Detach[0].children.Expr[0]), span };
    if (c.Require) {
      const { Expr, Text } = c.Require[0].children;
      return { kind: "Require", condition: this.expr(Expr[0]), reason: Text && this.string(Text[0]), span };
    }
    if (c.For) {
      const { Names, Expr, Block } = c.For[0].children;
      return { kind: "For", names: this.names(Names[0]), list: this.expr(Expr[0]), body: this.block(Block[0]), span };
    }
    if (c.If) return this.if(c.If[0]);
    if (c.Stage) return this.stage(c.Stage[0]);
    return this.binding(c.Binding![0]);
  }
  private if(node: cst.IfCstNode): ast.If {
    const c = node.children;
    const [then, otherwise] = c.Block;
    return {
      kind: "If",
      condition: this.expr(c.Expr[0]),
      // biome-ignore lint/suspicious/noThenProperty: the word of the language; a list is no thenable
      then: this.block(then),
      else: c.If ? [this.if(c.If[0])] : otherwise && this.block(otherwise),
      span: this.spanOf(node),
    };
  }
  private stage(node: cst.StageCstNode): ast.Stage {
    const c = node.children;
    const [verb, name] = c.Name;
    const settings = (c.Setting ?? []).map((s): ast.Setting | ast.Spread => {
      const value = this.expr(s.children.Expr![0]);
      const span = this.spanOf(s);
      return s.children.Name ? { kind: "Setting", name: this.name(s.children.Name[0]), value, span } : { kind: "Spread", value, span };
    });
    return { kind: "Stage", verb: this.name(verb), name: name && this.name(name), settings, span: this.spanOf(node) };
  }
  private binding(node: cst.BindingCstNode): ast.Binding {
    const c = node.children;
    const targets = c.Path.map((p) => this.path(p));
    const values = c.Expr.map((e) => this.expr(e));
    const span = this.spanOf(node);
    if (values.length !== targets.length && values.length !== 1)
      this.error(
        "P0114",
        this.join(values[0].span, values[values.length - 1].span),
        `${values.length} values for ${count(targets.length)}`,
        "",
        ["give each name a value, or one value that is taken apart"],
      );
    return { kind: "Binding", targets, op: c.AssignOp[0].image as "=" | ":=", values, span };
  }
  private path(node: cst.PathCstNode): ast.Path {
    const c = node.children;
    return { kind: "Path", names: [...c.Name, ...(c.AnyName ?? [])].map((n) => this.name(n)), span: this.spanOf(node) };
  }
}

const count = (n: number): string => (n === 1 ? "one name" : `${n} names`);
