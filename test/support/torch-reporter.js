// The last lines of a run: how many tests of the torch backend there was no PyTorch for.
const OURS = /[\\/]test[\\/]torch[\\/]/;

export default class TorchReporter {
  onRunComplete(_, results) {
    const tests = results.testResults.filter((file) => OURS.test(file.testFilePath)).flatMap((file) => file.testResults);
    const missing = tests.filter((test) => test.status === "pending").length;
    if (missing > 0) process.stderr.write(`torch: not found, ${missing} tests not run\n`);
  }
}
