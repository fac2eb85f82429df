// The last lines of a run: how many tests of native kernels there was no compiler for, and how many of the torch backend and of other libraries reading what we write no Python.
const OURS = [
  [/[\\/]test[\\/]native[\\/]/, "a C compiler and koffi"],
  [/[\\/]test[\\/]torch[\\/]/, "torch"],
  [/[\\/]test[\\/]python[\\/]/, "transformers and peft"],
];

export default class TorchReporter {
  constructor(globalConfig) {
    this.some = globalConfig.testNamePattern;
  }

  onRunComplete(_, results) {
    // tests that were not asked for are not missing
    if (this.some) return;
    for (const [path, what] of OURS) {
      const tests = results.testResults.filter((file) => path.test(file.testFilePath)).flatMap((file) => file.testResults);
      const missing = tests.filter((test) => test.status === "pending").length;
      if (missing > 0) process.stderr.write(`${what}: not found, ${missing} tests not run\n`);
    }
  }
}
