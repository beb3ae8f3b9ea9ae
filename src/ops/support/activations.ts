/** Applied to a product while it is stored. The order is the kernels' `activation`. */
export const fused = ["none", "gelu_tanh", "quick_gelu", "silu"] as const;

/**
 * transformers' names: "gelu" is exact (erf), "gelu_tanh" the approximation ("gelu_new"). Exact gelu
 * is a pass of its own: one encoder of prompts has it, and every product would carry its lines.
 */
export const activations = [...fused, "gelu"] as const;
export type Activation = typeof activations[number];
