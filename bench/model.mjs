/** GPT-2 with biases and an untied head in jax-js, and one AdamW update of it. Weights go by the names that peftc gives them. */
import { defaultDevice, init, jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";

const [BETA1, BETA2, EPS, DECAY] = [0.9, 0.999, 1e-8, 0.01];
const LORA_SCALE = 2;

function layerNorm(x, weight, bias) {
  const centred = x.ref.sub(np.mean(x, -1, { keepdims: true }));
  const variance = np.mean(np.square(centred.ref), -1, { keepdims: true });
  return centred
    .div(np.sqrt(variance.add(1e-5)))
    .mul(weight)
    .add(bias);
}

/** Mean negative log likelihood of the next token; `ids`: one-hot f32 [batch · sequence, vocabulary]. `p`: every weight by its name, consumed. */
function lossOf({ layers, width, heads, vocabulary, sequence, batch }, p, ids) {
  const w = (name) => p[name].ref;
  const linear = (x, at) => np.matmul(x, w(`${at}.weight`)).add(w(`${at}.bias`));
  const norm = (x, at) => layerNorm(x, w(`${at}.weight`), w(`${at}.bias`));
  const rows = batch * sequence;
  let x = np.matmul(ids.ref, w("wte.weight")).reshape([batch, sequence, width]).add(w("wpe.weight")).reshape([rows, width]);
  for (let i = 0; i < layers; i++) {
    const h = norm(x.ref, `h.${i}.ln_1`);
    let qkv = linear(h.ref, `h.${i}.attn.c_attn`);
    const low = p[`h.${i}.attn.c_attn.lora_A`];
    if (low !== undefined) {
      const thin = np.matmul(h, np.transpose(low.ref));
      qkv = qkv.add(np.matmul(thin, np.transpose(w(`h.${i}.attn.c_attn.lora_B`))).mul(LORA_SCALE));
    } else h.dispose();
    const [q, k, v] = np.split(qkv, 3, -1).map((part) => np.transpose(part.reshape([batch, sequence, heads, width / heads]), [0, 2, 1, 3]));
    // not `nn.dotProductAttention`: it goes through an einsum that Node 20 cannot run
    const scores = np.matmul(q, np.transpose(k, [0, 1, 3, 2])).mul(1 / Math.sqrt(width / heads));
    const causal = np.tri(sequence, sequence, 0, { dtype: np.bool });
    const weights = nn.softmax(np.where(causal, scores, -1e9), -1);
    const attended = np.transpose(np.matmul(weights, v), [0, 2, 1, 3]).reshape([rows, width]);
    x = x.add(linear(attended, `h.${i}.attn.c_proj`));
    const inner = nn.gelu(linear(norm(x.ref, `h.${i}.ln_2`), `h.${i}.mlp.c_fc`));
    x = x.add(linear(inner, `h.${i}.mlp.c_proj`));
  }
  const logits = np.matmul(norm(x, "ln_f"), np.transpose(w("head.weight")));
  const wide = [batch, sequence, vocabulary];
  const before = logits.reshape(wide).slice([], [0, sequence - 1]);
  const next = ids.reshape(wide).slice([], [1, sequence]);
  tree.dispose(p);
  return np.sum(nn.logSoftmax(before, -1).mul(next)).mul(-1 / (batch * (sequence - 1)));
}

/** One update. `correct`: [1 - beta1^t, 1 - beta2^t]. Consumes what it is given. */
const updateOf = (shape, rate) => (trained, frozen, m, v, ids, correct) => {
  const [loss, grads] = valueAndGrad((t) => lossOf(shape, { ...t, ...frozen }, ids))(tree.ref(trained));
  const [c1, c2] = [correct.ref.slice(0), correct.slice(1)];
  const next = { params: {}, m: {}, v: {} };
  for (const [name, g] of Object.entries(grads)) {
    const moment = m[name].mul(BETA1).add(g.ref.mul(1 - BETA1));
    const square = v[name].mul(BETA2).add(np.square(g).mul(1 - BETA2));
    const direction = moment.ref.div(c1.ref).div(np.sqrt(square.ref.div(c2.ref)).add(EPS));
    next.params[name] = trained[name].ref.sub(direction.add(trained[name].mul(DECAY)).mul(rate));
    next.m[name] = moment;
    next.v[name] = square;
  }
  c1.dispose();
  c2.dispose();
  return [loss, next.params, next.m, next.v];
};

/** The name of a parameter here. */
function shortName(name) {
  const lora = /h\.(\d+)\.attn\.c_attn\..*?(lora_[AB])/.exec(name);
  if (lora) return `h.${lora[1]}.attn.c_attn.${lora[2]}`;
  return name
    .replace(/^m\./, "")
    .replace(/^transformer\./, "")
    .replace(/^lm_head/, "head");
}

/** A step of jax-js with the weights and the ids of one here (`openStep`); gives its loss. */
export async function openPeer(shape, rate, { built, stage, values, startOf, ids }) {
  await init("wasm");
  defaultDevice("wasm");
  const [trained, frozen] = [{}, {}];
  for (const name of Object.keys(built.program.params)) {
    const array = np.array(Float32Array.from(startOf(name))).reshape([...values.shape(name)]);
    (stage.trained.includes(name) ? trained : frozen)[shortName(name)] = array;
  }
  const tokens = shape.batch * shape.sequence;
  const hot = new Float32Array(tokens * shape.vocabulary);
  ids.forEach((id, i) => {
    hot[i * shape.vocabulary + id] = 1;
  });
  const oneHot = np.array(hot).reshape([tokens, shape.vocabulary]);
  const zeros = () => tree.map((x) => np.zeros(x.shape), trained);
  let [params, m, v] = [trained, zeros(), zeros()];
  const update = jit(updateOf(shape, rate));
  let t = 0;
  return async () => {
    t++;
    const correct = np.array(new Float32Array([1 - 0.9 ** t, 1 - 0.999 ** t]));
    let loss;
    [loss, params, m, v] = update(params, tree.ref(frozen), m, v, oneHot.ref, correct);
    return (await loss.data())[0];
  };
}

/** `chain` products n³ in one call; gives the first number of the last. */
export async function openProductsPeer(n, chain, left, right) {
  await init("wasm");
  defaultDevice("wasm");
  const [l, r] = [np.array(left).reshape([n, n]), np.array(right).reshape([n, n])];
  const run = jit((x, y) => {
    let out = x;
    for (let i = 0; i < chain; i++) out = np.matmul(out, i < chain - 1 ? y.ref : y);
    return out;
  });
  return async () => (await run(l.ref, r.ref).data())[0];
}
