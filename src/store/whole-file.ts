/** Reading a small file of the device at once. */
import type { Device } from '../device/device.js';

export function readWholeFile(device: Device, name: string): Buffer {
  const file = device.open(name, { create: false });
  try {
    const bytes = Buffer.alloc(file.size());
    const count = file.readSync(bytes, 0, bytes.length, 0);
    return bytes.subarray(0, count);
  } finally {
    file.close();
  }
}
