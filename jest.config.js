/**
 * `npm test` runs everything but `test/papers`, whose shortened runs take as long as a third of all others together; `npm test -- papers` runs those, and
 * so does `.ci/run`.
 */
const papers = process.argv.slice(2).some((word) => /papers/.test(word));

export default {
  testEnvironment: "node",
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  testPathIgnorePatterns: ["/node_modules/", ...(papers ? [] : ["<rootDir>/test/papers/"])],
  extensionsToTreatAsEsm: [".ts"],
  transform: {
    "^.+\\.ts$": [
      "<rootDir>/test/support/transform.js",
      { jsc: { parser: { syntax: "typescript" }, target: "es2022" }, module: { type: "es6" } },
    ],
  },
  // one file rather than some seven hundred modules
  moduleNameMapper: { "^chevrotain$": "<rootDir>/node_modules/chevrotain/lib/chevrotain.mjs" },
  testSequencer: "<rootDir>/test/support/sequencer.js",
  globalSetup: "<rootDir>/test/support/setup.js",
  reporters: ["default", "<rootDir>/test/support/torch-reporter.js"],
  maxWorkers: 2,
  testTimeout: 120000,
};
