/** Types of the concrete syntax tree, generated from the parser's rules by `scripts/cst-types.ts`: do not edit. */
// biome-ignore-all format: as generated
import type { CstNode, IToken } from "chevrotain";

export interface ParamsCstNode extends CstNode {
  name: "Params";
  children: ParamsCstChildren;
}

export type ParamsCstChildren = {
  LParen: IToken[];
  Param?: (ParamCstNode)[];
  Comma?: (IToken)[];
  RParen: IToken[];
};

export interface ParamCstNode extends CstNode {
  name: "Param";
  children: ParamCstChildren;
}

export type ParamCstChildren = {
  Name: IToken[];
  Colon?: IToken[];
  TypeRef?: TypeRefCstNode[];
  Equals?: IToken[];
  Expr?: ExprCstNode[];
};

export interface TypeRefCstNode extends CstNode {
  name: "TypeRef";
  children: TypeRefCstChildren;
}

export type TypeRefCstChildren = {
  LSquare?: (IToken)[];
  TypeRef?: TypeRefCstNode[];
  RSquare?: (IToken)[];
  fn?: IToken[];
  Name?: IToken[];
  Dim?: (DimCstNode)[];
  Comma?: IToken[];
  Question?: IToken[];
};

export interface DimCstNode extends CstNode {
  name: "Dim";
  children: DimCstChildren;
}

export type DimCstChildren = {
  Ellipsis?: IToken[];
  Expr?: ExprCstNode[];
};

export interface NamesCstNode extends CstNode {
  name: "Names";
  children: NamesCstChildren;
}

export type NamesCstChildren = {
  Name: (IToken)[];
  Comma?: IToken[];
};

export interface ExprCstNode extends CstNode {
  name: "Expr";
  children: ExprCstChildren;
}

export type ExprCstChildren = {
  Choice: (ChoiceCstNode)[];
  except?: IToken[];
};

export interface ChoiceCstNode extends CstNode {
  name: "Choice";
  children: ChoiceCstChildren;
}

export type ChoiceCstChildren = {
  if?: IToken[];
  Expr?: ExprCstNode[];
  then?: IToken[];
  Choice?: (ChoiceCstNode)[];
  else?: IToken[];
  fn?: IToken[];
  Params?: ParamsCstNode[];
  FatArrow?: IToken[];
  Default?: DefaultCstNode[];
};

export interface DefaultCstNode extends CstNode {
  name: "Default";
  children: DefaultCstChildren;
}

export type DefaultCstChildren = {
  Or: (OrCstNode)[];
  Coalesce?: IToken[];
};

export interface OrCstNode extends CstNode {
  name: "Or";
  children: OrCstChildren;
}

export type OrCstChildren = {
  And: (AndCstNode)[];
  or?: IToken[];
};

export interface AndCstNode extends CstNode {
  name: "And";
  children: AndCstChildren;
}

export type AndCstChildren = {
  Not: (NotCstNode)[];
  and?: IToken[];
};

export interface NotCstNode extends CstNode {
  name: "Not";
  children: NotCstChildren;
}

export type NotCstChildren = {
  not?: IToken[];
  Not?: NotCstNode[];
  Compare?: CompareCstNode[];
};

export interface CompareCstNode extends CstNode {
  name: "Compare";
  children: CompareCstChildren;
}

export type CompareCstChildren = {
  Range: (RangeCstNode)[];
  CompareOp?: IToken[];
};

export interface RangeCstNode extends CstNode {
  name: "Range";
  children: RangeCstChildren;
}

export type RangeCstChildren = {
  Sum: (SumCstNode)[];
  DotDot?: IToken[];
};

export interface SumCstNode extends CstNode {
  name: "Sum";
  children: SumCstChildren;
}

export type SumCstChildren = {
  Product: (ProductCstNode)[];
  AddOp?: IToken[];
};

export interface ProductCstNode extends CstNode {
  name: "Product";
  children: ProductCstChildren;
}

export type ProductCstChildren = {
  Unary: (UnaryCstNode)[];
  MulOp?: IToken[];
};

export interface UnaryCstNode extends CstNode {
  name: "Unary";
  children: UnaryCstChildren;
}

export type UnaryCstChildren = {
  Minus?: IToken[];
  Unary?: UnaryCstNode[];
  Power?: PowerCstNode[];
};

export interface PowerCstNode extends CstNode {
  name: "Power";
  children: PowerCstChildren;
}

export type PowerCstChildren = {
  Postfix: PostfixCstNode[];
  StarStar?: IToken[];
  Unary?: UnaryCstNode[];
};

export interface PostfixCstNode extends CstNode {
  name: "Postfix";
  children: PostfixCstChildren;
}

export type PostfixCstChildren = {
  Primary: PrimaryCstNode[];
  Suffix?: SuffixCstNode[];
};

export interface SuffixCstNode extends CstNode {
  name: "Suffix";
  children: SuffixCstChildren;
}

export type SuffixCstChildren = {
  Dot?: IToken[];
  Step?: StepCstNode[];
  Call?: CallCstNode[];
  Index?: IndexCstNode[];
};

export interface StepCstNode extends CstNode {
  name: "Step";
  children: StepCstChildren;
}

export type StepCstChildren = {
  Deep?: DeepCstNode[];
  Star?: IToken[];
  LCurly?: IToken[];
  Alternative?: (AlternativeCstNode)[];
  Comma?: (IToken)[];
  RCurly?: IToken[];
  AnyName?: IToken[];
};

export interface DeepCstNode extends CstNode {
  name: "Deep";
  children: DeepCstChildren;
}

export type DeepCstChildren = {
  StarStar: IToken[];
  Colon?: IToken[];
  Name?: IToken[];
};

export interface AlternativeCstNode extends CstNode {
  name: "Alternative";
  children: AlternativeCstChildren;
}

export type AlternativeCstChildren = {
  Name?: IToken[];
  Deep?: DeepCstNode[];
  Star?: IToken[];
  Dot?: IToken[];
  Step?: StepCstNode[];
};

export interface CallCstNode extends CstNode {
  name: "Call";
  children: CallCstChildren;
}

export type CallCstChildren = {
  LParen: IToken[];
  Argument?: (ArgumentCstNode)[];
  Comma?: (IToken)[];
  RParen: IToken[];
};

export interface ArgumentCstNode extends CstNode {
  name: "Argument";
  children: ArgumentCstChildren;
}

export type ArgumentCstChildren = {
  Ellipsis?: IToken[];
  Expr?: (ExprCstNode)[];
  Name?: IToken[];
  Colon?: IToken[];
  Equals?: IToken[];
};

export interface IndexCstNode extends CstNode {
  name: "Index";
  children: IndexCstChildren;
}

export type IndexCstChildren = {
  LSquare: IToken[];
  IndexItem: (IndexItemCstNode)[];
  Comma?: (IToken)[];
  RSquare: IToken[];
};

export interface IndexItemCstNode extends CstNode {
  name: "IndexItem";
  children: IndexItemCstChildren;
}

export type IndexItemCstChildren = {
  Ellipsis?: IToken[];
  Star?: IToken[];
  Slice?: (SliceCstNode)[];
  Expr?: ExprCstNode[];
  DotDot?: IToken[];
};

export interface SliceCstNode extends CstNode {
  name: "Slice";
  children: SliceCstChildren;
}

export type SliceCstChildren = {
  Colon: (IToken)[];
  Stop?: StopCstNode[];
  Expr?: ExprCstNode[];
};

export interface StopCstNode extends CstNode {
  name: "Stop";
  children: StopCstChildren;
}

export type StopCstChildren = {
  Expr: ExprCstNode[];
};

export interface PrimaryCstNode extends CstNode {
  name: "Primary";
  children: PrimaryCstChildren;
}

export type PrimaryCstChildren = {
  Number?: IToken[];
  Text?: IToken[];
  true?: IToken[];
  false?: IToken[];
  none?: IToken[];
  Name?: IToken[];
  Deep?: DeepCstNode[];
  LParen?: IToken[];
  Expr?: ExprCstNode[];
  RParen?: IToken[];
  List?: ListCstNode[];
  Record?: RecordCstNode[];
};

export interface ListCstNode extends CstNode {
  name: "List";
  children: ListCstChildren;
}

export type ListCstChildren = {
  LSquare: IToken[];
  Element?: (ElementCstNode)[];
  for?: IToken[];
  Names?: NamesCstNode[];
  in?: IToken[];
  Expr?: (ExprCstNode)[];
  if?: IToken[];
  Comma?: (IToken)[];
  RSquare: IToken[];
};

export interface ElementCstNode extends CstNode {
  name: "Element";
  children: ElementCstChildren;
}

export type ElementCstChildren = {
  Ellipsis?: IToken[];
  Expr: ExprCstNode[];
};

export interface RecordCstNode extends CstNode {
  name: "Record";
  children: RecordCstChildren;
}

export type RecordCstChildren = {
  LCurly: IToken[];
  Entry?: (EntryCstNode)[];
  Comma?: (IToken)[];
  RCurly: IToken[];
};

export interface EntryCstNode extends CstNode {
  name: "Entry";
  children: EntryCstChildren;
}

export type EntryCstChildren = {
  Ellipsis?: IToken[];
  Expr?: (ExprCstNode)[];
  Name?: IToken[];
  Text?: IToken[];
  Colon?: IToken[];
  Equals?: IToken[];
};

export interface ProgramCstNode extends CstNode {
  name: "Program";
  children: ProgramCstChildren;
}

export type ProgramCstChildren = {
  Misplaced?: MisplacedCstNode[];
  Item?: ItemCstNode[];
};

export interface ItemCstNode extends CstNode {
  name: "Item";
  children: ItemCstChildren;
}

export type ItemCstChildren = {
  Import?: ImportCstNode[];
  Type?: TypeCstNode[];
  Role?: RoleCstNode[];
  Module?: ModuleCstNode[];
  Method?: MethodCstNode[];
  Function?: FunctionCstNode[];
  Statement?: StatementCstNode[];
};

export interface ImportCstNode extends CstNode {
  name: "Import";
  children: ImportCstChildren;
}

export type ImportCstChildren = {
  import: IToken[];
  LCurly: IToken[];
  ImportName?: (ImportNameCstNode)[];
  Comma?: (IToken)[];
  RCurly: IToken[];
  from: IToken[];
  Text: IToken[];
};

export interface ImportNameCstNode extends CstNode {
  name: "ImportName";
  children: ImportNameCstChildren;
}

export type ImportNameCstChildren = {
  Name: (IToken)[];
  as?: IToken[];
};

export interface TypeCstNode extends CstNode {
  name: "Type";
  children: TypeCstChildren;
}

export type TypeCstChildren = {
  type: IToken[];
  Name: IToken[];
  Fields: FieldsCstNode[];
};

export interface RoleCstNode extends CstNode {
  name: "Role";
  children: RoleCstChildren;
}

export type RoleCstChildren = {
  role: IToken[];
  Name: (IToken)[];
  as?: IToken[];
  Fields?: FieldsCstNode[];
};

export interface FieldsCstNode extends CstNode {
  name: "Fields";
  children: FieldsCstChildren;
}

export type FieldsCstChildren = {
  LCurly: IToken[];
  Field?: FieldCstNode[];
  Comma?: IToken[];
  RCurly: IToken[];
};

export interface FieldCstNode extends CstNode {
  name: "Field";
  children: FieldCstChildren;
}

export type FieldCstChildren = {
  Name: IToken[];
  Colon: IToken[];
  TypeRef: TypeRefCstNode[];
  Equals?: IToken[];
  Expr?: ExprCstNode[];
};

export interface ModuleCstNode extends CstNode {
  name: "Module";
  children: ModuleCstChildren;
}

export type ModuleCstChildren = {
  module: IToken[];
  Name: IToken[];
  Params: ParamsCstNode[];
  Roles?: RolesCstNode[];
  Members: MembersCstNode[];
};

export interface MethodCstNode extends CstNode {
  name: "Method";
  children: MethodCstChildren;
}

export type MethodCstChildren = {
  method: IToken[];
  Name: IToken[];
  Params: ParamsCstNode[];
  on: IToken[];
  TypeRef: TypeRefCstNode[];
  Roles?: RolesCstNode[];
  Members: MembersCstNode[];
};

export interface RolesCstNode extends CstNode {
  name: "Roles";
  children: RolesCstChildren;
}

export type RolesCstChildren = {
  as: IToken[];
  Fills: (FillsCstNode)[];
  Comma?: IToken[];
};

export interface FillsCstNode extends CstNode {
  name: "Fills";
  children: FillsCstChildren;
}

export type FillsCstChildren = {
  Name: IToken[];
  LParen?: IToken[];
  Filled?: (FilledCstNode)[];
  Comma?: (IToken)[];
  RParen?: IToken[];
};

export interface FilledCstNode extends CstNode {
  name: "Filled";
  children: FilledCstChildren;
}

export type FilledCstChildren = {
  Name: IToken[];
  Colon: IToken[];
  Path: PathCstNode[];
};

export interface ResultsCstNode extends CstNode {
  name: "Results";
  children: ResultsCstChildren;
}

export type ResultsCstChildren = {
  Arrow: IToken[];
  Param: (ParamCstNode)[];
  Comma?: IToken[];
};

export interface MembersCstNode extends CstNode {
  name: "Members";
  children: MembersCstChildren;
}

export type MembersCstChildren = {
  LCurly: IToken[];
  Misplaced?: MisplacedCstNode[];
  Member?: MemberCstNode[];
  RCurly: IToken[];
};

export interface MemberCstNode extends CstNode {
  name: "Member";
  children: MemberCstChildren;
}

export type MemberCstChildren = {
  Parameter?: ParameterCstNode[];
  State?: StateCstNode[];
  Input?: InputCstNode[];
  Forward?: ForwardCstNode[];
  Function?: FunctionCstNode[];
  Statement?: StatementCstNode[];
};

export interface ParameterCstNode extends CstNode {
  name: "Parameter";
  children: ParameterCstChildren;
}

export type ParameterCstChildren = {
  shared?: (IToken)[];
  Name?: IToken[];
  Equals?: IToken[];
  Expr?: ExprCstNode[];
  frozen?: IToken[];
  param?: IToken[];
  Field?: FieldCstNode[];
};

export interface StateCstNode extends CstNode {
  name: "State";
  children: StateCstChildren;
}

export type StateCstChildren = {
  state: IToken[];
  Name: IToken[];
  Colon?: IToken[];
  TypeRef?: TypeRefCstNode[];
  Equals: IToken[];
  Expr: ExprCstNode[];
};

export interface InputCstNode extends CstNode {
  name: "Input";
  children: InputCstChildren;
}

export type InputCstChildren = {
  input: IToken[];
  Field: FieldCstNode[];
};

export interface ForwardCstNode extends CstNode {
  name: "Forward";
  children: ForwardCstChildren;
}

export type ForwardCstChildren = {
  forward: IToken[];
  Params: ParamsCstNode[];
  Results: ResultsCstNode[];
  Block: BlockCstNode[];
};

export interface FunctionCstNode extends CstNode {
  name: "Function";
  children: FunctionCstChildren;
}

export type FunctionCstChildren = {
  fn: IToken[];
  Name: IToken[];
  Params: ParamsCstNode[];
  Equals?: IToken[];
  Expr?: ExprCstNode[];
  Results?: ResultsCstNode[];
  Block?: BlockCstNode[];
};

export interface BlockCstNode extends CstNode {
  name: "Block";
  children: BlockCstChildren;
}

export type BlockCstChildren = {
  LCurly: IToken[];
  Misplaced?: MisplacedCstNode[];
  Statement?: StatementCstNode[];
  RCurly: IToken[];
};

export interface MisplacedCstNode extends CstNode {
  name: "Misplaced";
  children: MisplacedCstChildren;
}

export type MisplacedCstChildren = {
  Member?: MemberCstNode[];
  Item?: ItemCstNode[];
};

export interface StatementCstNode extends CstNode {
  name: "Statement";
  children: StatementCstChildren;
}

export type StatementCstChildren = {
  Model?: ModelCstNode[];
  Attach?: AttachCstNode[];
  Detach?: DetachCstNode[];
  Require?: RequireCstNode[];
  For?: ForCstNode[];
  If?: IfCstNode[];
  Stage?: StageCstNode[];
  Binding?: BindingCstNode[];
};

export interface ModelCstNode extends CstNode {
  name: "Model";
  children: ModelCstChildren;
}

export type ModelCstChildren = {
  model: IToken[];
  Name: IToken[];
  Equals: IToken[];
  Expr: (ExprCstNode)[];
  from?: IToken[];
};

export interface AttachCstNode extends CstNode {
  name: "Attach";
  children: AttachCstChildren;
}

export type AttachCstChildren = {
  attach: IToken[];
  Name: IToken[];
  Equals: IToken[];
  Expr: (ExprCstNode)[];
  to: IToken[];
  expect?: IToken[];
};

export interface DetachCstNode extends CstNode {
  name: "Detach";
  children: DetachCstChildren;
}

export type DetachCstChildren = {
  detach: IToken[];
  Expr: ExprCstNode[];
};

export interface RequireCstNode extends CstNode {
  name: "Require";
  children: RequireCstChildren;
}

export type RequireCstChildren = {
  require: IToken[];
  Expr: ExprCstNode[];
  Comma?: IToken[];
  Text?: IToken[];
};

export interface ForCstNode extends CstNode {
  name: "For";
  children: ForCstChildren;
}

export type ForCstChildren = {
  for: IToken[];
  Names: NamesCstNode[];
  in: IToken[];
  Expr: ExprCstNode[];
  Block: BlockCstNode[];
};

export interface IfCstNode extends CstNode {
  name: "If";
  children: IfCstChildren;
}

export type IfCstChildren = {
  if: IToken[];
  Expr: ExprCstNode[];
  Block: (BlockCstNode)[];
  else?: IToken[];
  If?: IfCstNode[];
};

export interface StageCstNode extends CstNode {
  name: "Stage";
  children: StageCstChildren;
}

export type StageCstChildren = {
  Name: (IToken)[];
  LCurly: IToken[];
  Setting?: SettingCstNode[];
  Comma?: IToken[];
  RCurly: IToken[];
};

export interface SettingCstNode extends CstNode {
  name: "Setting";
  children: SettingCstChildren;
}

export type SettingCstChildren = {
  Ellipsis?: IToken[];
  Expr?: (ExprCstNode)[];
  Name?: IToken[];
  Equals?: IToken[];
  Colon?: IToken[];
};

export interface BindingCstNode extends CstNode {
  name: "Binding";
  children: BindingCstChildren;
}

export type BindingCstChildren = {
  Path: (PathCstNode)[];
  Comma?: (IToken)[];
  AssignOp: IToken[];
  Expr: (ExprCstNode)[];
};

export interface PathCstNode extends CstNode {
  name: "Path";
  children: PathCstChildren;
}

export type PathCstChildren = {
  Name: IToken[];
  Dot?: IToken[];
  AnyName?: IToken[];
};
