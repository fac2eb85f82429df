/**
 * Coefficients of the polynomials that the printers for processors spell scalar functions with, from the highest degree. f32 throughout.
 *
 * exp: of e^r on |r| ≤ ln2/2, from the second degree on (as in Cephes). log: of 2·artanh(s) in s². tanh: odd over even, on |x| ≤ `TANH_END`, beyond which f32
 * gives ±1 (as in Eigen's `generic_fast_tanh_float`). erf: below `ERF_NEAR_END` an odd polynomial, above it 1 − e^(x·p(x)), so that 1 + erf has no more error than
 * rounding leaves (half a unit of 2⁻²⁴) where it is small, as GELU needs it; both fitted by weighted least squares, to 2e-8 and 3e-9. sin, cos: on |r| ≤ π/4 (as in
 * Cephes), after a reduction by π/2 in three parts, good to |x| ≈ 8000.
 */
export const LN2_HIGH = 0.693359375;
export const LN2_LOW = -2.1219444005469057e-4;
/** 1.5·2²³: adding it rounds to a whole number, which then lies in the low bits. */
export const ROUND = 12582912;
export const EXP = [1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1];
/** Beyond these, e^x is 0 or infinity. */
export const EXP_RANGE = [-87.4, 89] as const;
export const LOG = [2 / 11, 2 / 9, 2 / 7, 2 / 5, 2 / 3];
export const TANH_END = 7.905311107635498;
export const TANH_OVER = [
  -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-8, 1.48572235717979e-5, 6.37261928875436e-4,
  4.89352455891786e-3,
];
export const TANH_UNDER = [1.19825839466702e-6, 1.18534705686654e-4, 2.268434632439e-3, 4.89352518554385e-3];
export const ERF_NEAR_END = 0.9;
export const ERF_NEAR = [-5.99048741e-4, 4.99310903e-3, -2.67665684e-2, 1.12818152e-1, -3.76124948e-1, 1.12837911];
export const ERF_FAR = [2.14153784e-4, -3.21645103e-3, 2.28951238e-2, -1.05270505e-1, -6.35711253e-1, -1.12851655];
export const HALF_PI = [1.5703125, 4.837512969970703e-4, 7.549789954891882e-8];
export const SIN = [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1];
export const COS = [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2];
/** Of what 2s lacks of 2·artanh(s), over s·s². */
export const POW = [2 / 13, 2 / 11, 2 / 9, 2 / 7, 2 / 5, 2 / 3];
