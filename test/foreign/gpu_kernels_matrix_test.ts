/** Foreign models with the kernels made for GPUs, whatever the adapter. */
import { chosen } from "../chosen_kernels.ts";

chosen.kernels = "gpu";
await import("./text_encoders_test.ts");
await import("./transformer_test.ts");
await import("./vae_test.ts");
await import("./command_line_test.ts");
// Last, since its last test closes the device.
await import("./pipeline_test.ts");
