/** What a device can do to a run that is neither the user's program nor ours: exit code 3 at the command line. */
export abstract class DeviceError extends Error {
  constructor(
    message: string,
    /** What to try, one line each. */
    readonly notes: readonly string[] = [],
  ) {
    super(message);
  }
}

/** The device went away in the middle: a driver reset, a dispatch that ran too long, a GPU unplugged. Nothing on it can be read any more. */
export class DeviceLost extends DeviceError {
  override readonly name = "DeviceLost";
}

/** The device would not give the memory that the plan asks for. */
export class OutOfMemory extends DeviceError {
  override readonly name = "OutOfMemory";
}

/** There is no device of the kind asked for. */
export class NoDevice extends DeviceError {
  override readonly name = "NoDevice";
}
