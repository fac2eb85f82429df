/** The room of file formats: safetensors, configurations, tokenizers, adapters, data. Everything works on `Files`. */
export { AdapterFolder, type AdapterPart } from "./adapters/folder.ts";
export { type Mappings, readMappings } from "./adapters/mapping.ts";
export type { OutAdapter, OutAttachment, OutParam } from "./adapters/out.ts";
export { isAdapter, readAdapter } from "./adapters/read.ts";
export { taskOf, type Written, writeAdapter } from "./adapters/write.ts";
export { type CheckpointMatch, matchCheckpoint, openCheckpoint, type WantedParam } from "./checkpoint.ts";
export { labelCount, labelIds, type ModelConfig, normaliseConfig, readConfig, writeConfig } from "./config.ts";
export { makeTable, type TableContext, type TableSpec } from "./data/make.ts";
export type { Column, Table } from "./data/table.ts";
export { type Draft, type FileStat, type Files, type Json, type JsonRecord, joinPath, readJson, readText, writeJson } from "./files.ts";
export { MemoryFiles } from "./memory.ts";
export { copyCompanions, type ModelFolder, writeModel } from "./model.ts";
export type { StoredDType, Values } from "./safetensors/dtype.ts";
export type { TensorInfo } from "./safetensors/header.ts";
export { openSafetensors, TensorStore } from "./safetensors/read.ts";
export { type OutTensor, writeSafetensors, writeWeights } from "./safetensors/write.ts";
export { TextStream } from "./tokenizer/stream.ts";
export { type Framed, loadTokenizer, TextTokenizer } from "./tokenizer/tokenizer.ts";
