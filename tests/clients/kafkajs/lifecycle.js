// A topic's life as kafkajs plays it. Called as: lifecycle.js BOOTSTRAP PREFIX
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require('kafkajs')
const snappy = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const { ZstdCodec } = require('zstd-codec')

const [bootstrap, prefix] = process.argv.slice(2)
const kafka = new Kafka({ brokers: bootstrap.split(','), logLevel: logLevel.NOTHING })
const admin = kafka.admin()
const topic = `${prefix}-life`
const COUNT = 3000
const PARTITIONS = 3
const BASE_TIME = Date.now() - 3600000 // recent, or retention would remove the records
const ROUNDS = [['none', -1], ['gzip', -1], ['snappy', -1], ['lz4', -1], ['zstd', -1], ['none', 1], ['none', 0]]

let failed = false
// Left out if the first word is in $WITHOUT: the broker is known not to serve that yet (see ../README.md).
async function check(what, body) {
  if ((process.env.WITHOUT ?? '').split(' ').includes(what.split(/[: ]/)[0])) {
    console.log(`later kafkajs ${what}`)
    return
  }
  try {
    await body()
    console.log(`ok kafkajs ${what}`)
  } catch (error) {
    failed = true
    console.log(`FAIL kafkajs ${what}: ${error.name}: ${error.message}`)
  }
}

function expect(condition, message) {
  if (!condition) throw new Error(message)
}

async function waitFor(condition, message) {
  for (const deadline = Date.now() + 30000; !condition(); ) {
    expect(Date.now() < deadline, `${message} (waited 30 s)`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function addCodecs() {
  const zstd = await new Promise((resolve) => ZstdCodec.run((codec) => resolve(new codec.Simple())))
  CompressionCodecs[CompressionTypes.Snappy] = snappy
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: ({ buffer }) => lz4.compressFrame(buffer),
    decompress: (buffer) => lz4.decompressFrame(buffer),
  })
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async ({ buffer }) => Buffer.from(zstd.compress(buffer)),
    decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
  })
}

function makeRecords(label, count = COUNT) {
  return Array.from({ length: count }, (_, i) => ({
    key: `${label}/${i % 50}`,
    value: `${label} ${i} ${'x'.repeat(100)}`,
    headers: { number: `${i}` },
    timestamp: `${BASE_TIME + i}`,
  }))
}

async function produce(topic, label, codec, acks, options = {}) {
  const producer = kafka.producer(options)
  await producer.connect()
  const compression = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }[codec]
  await producer.send({ topic, acks, compression, messages: makeRecords(label) })
  await producer.disconnect()
}

// One member of a group; kafkajs cannot read without a group.
class Member {
  constructor(group, topic, options = {}) {
    this.records = []
    this.assigned = []
    this.lastRecord = Date.now()
    this.consumer = kafka.consumer({ groupId: group, readUncommitted: true, maxWaitTimeInMs: 200, ...options })
    this.consumer.on(this.consumer.events.GROUP_JOIN, ({ payload }) => {
      this.assigned = payload.memberAssignment[topic] ?? []
      this.lastRecord = Date.now()
    })
    this.topic = topic
  }

  async join() {
    await this.consumer.connect()
    await this.consumer.subscribe({ topic: this.topic, fromBeginning: true })
    await this.consumer.run({
      eachMessage: async ({ partition, message }) => {
        this.lastRecord = Date.now()
        this.records.push({ partition, ...message, key: `${message.key}`, value: `${message.value}`, number: `${message.headers.number}` })
      },
    })
    return this
  }

  leave() {
    return this.consumer.disconnect() // commits what was read
  }

  async idle() {
    await waitFor(() => Date.now() - this.lastRecord > 1500, 'the group does not come to the end')
  }
}

async function consume(topic, count, options) {
  const member = await new Member(`${prefix}-${topic.slice(-4)}-${options?.readUncommitted ?? 'all'}`, topic, options).join()
  await waitFor(() => member.records.length >= count, `expected ${count} records`)
  await member.idle()
  await member.leave()
  return member.records
}

// All came back once and unchanged, each key in one partition, each partition in the order of sending.
function verify(label, sent, consumed) {
  const mine = consumed.filter((r) => r.value.startsWith(`${label} `))
  expect(mine.length === sent.length, `sent ${sent.length} records, ${mine.length} came back`)
  const last = {}
  const home = {}
  for (const r of mine) {
    const number = Number(r.value.split(' ')[1])
    const s = sent[number]
    expect(r.key === s.key && r.value === s.value && r.number === s.headers.number && r.timestamp === s.timestamp, `record ${number} came back changed`)
    expect((last[r.partition] ?? -1) < number, `partition ${r.partition} is out of order at offset ${r.offset}`)
    expect((home[r.key] ??= r.partition) === r.partition, `key ${r.key} is in two partitions`)
    last[r.partition] = number
  }
}

async function groupOfTwo(group, total) {
  const one = new Member(group, topic)
  const two = new Member(group, topic)
  await Promise.all([one.join(), two.join()])
  await waitFor(() => one.assigned.length > 0 && two.assigned.length > 0 && one.assigned.length + two.assigned.length === PARTITIONS,
    'two members do not share the partitions')
  await two.leave()
  await waitFor(() => one.assigned.length === PARTITIONS, 'the one left did not take over')
  await one.idle()
  await one.leave()
  const seen = new Set([...one.records, ...two.records].map((r) => r.value))
  expect(seen.size === total, `the group read ${seen.size} of ${total} records`)
}

async function groupContinues(group) {
  await produce(topic, 'more', 'none', -1)
  const again = await new Member(group, topic).join()
  await waitFor(() => again.records.length >= COUNT, 'the group did not read the new records')
  await again.leave()
  expect(again.records.length === COUNT, `${again.records.length} records, ${COUNT} are new`)
  verify('more', makeRecords('more'), again.records)
}

async function transactions() {
  const topic = `${prefix}-transactions`
  await admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: 1 }] })
  const producer = kafka.producer({ transactionalId: `${prefix}-id`, idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (const [label, end] of [['aborted', 'abort'], ['committed', 'commit']]) {
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: makeRecords(label, 100) })
    await transaction[end]()
  }
  await producer.disconnect()
  const all = await consume(topic, 200)
  verify('aborted', makeRecords('aborted', 100), all)
  const committed = await consume(topic, 100, { readUncommitted: false })
  verify('aborted', [], committed)
  verify('committed', makeRecords('committed', 100), committed)
}

async function main() {
  await addCodecs()
  await admin.connect()
  await check(`create a topic of ${PARTITIONS} partitions`, () =>
    admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: 1 }] }))
  for (const [codec, acks] of ROUNDS) {
    await check(`produce ${COUNT} records, ${codec}, acks=${acks}`, () => produce(topic, `${codec}${acks}`, codec, acks))
  }
  const total = COUNT * ROUNDS.length
  let consumed = []
  await check(`consume ${total} records`, async () => (consumed = await consume(topic, total)))
  for (const [codec, acks] of ROUNDS) {
    await check(`records of ${codec}, acks=${acks} came back in order`, () => verify(`${codec}${acks}`, makeRecords(`${codec}${acks}`), consumed))
  }
  await check('group of two, one leaves, the other takes over', () => groupOfTwo(`${prefix}-group`, total))
  await check('group continues from the committed offset', () => groupContinues(`${prefix}-group`))
  await check('offsets: earliest, latest', async () => {
    const offsets = await admin.fetchTopicOffsets(topic)
    expect(offsets.every((o) => o.low === '0'), 'earliest offsets are not 0')
    const sum = offsets.reduce((n, o) => n + Number(o.high), 0)
    expect(sum === total + COUNT, `latest offsets add up to ${sum}`)
  })
  await check('offsets: by timestamp', async () => {
    const time = BASE_TIME + COUNT / 2
    const first = consumed.find((r) => r.partition === 0 && Number(r.timestamp) >= time).offset
    const found = (await admin.fetchTopicOffsetsByTimestamp(topic, time)).find((o) => o.partition === 0).offset
    expect(found === first, `timestamp is at offset ${first}, found ${found}`)
  })
  await check('idempotent produce', async () => {
    const topic = `${prefix}-idempotent`
    await admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: 1 }] })
    await produce(topic, 'idempotent', 'none', -1, { idempotent: true, maxInFlightRequests: 1 })
    verify('idempotent', makeRecords('idempotent'), await consume(topic, COUNT))
  })
  await check('transactions: one aborted, one committed, read_committed', transactions)
  await check('unknown topic is a clear error', async () => {
    const error = await admin.deleteTopics({ topics: [`${prefix}-nobody`] }).catch((error) => error)
    expect(/does not host this topic/.test(error?.message), `got ${error?.message}`)
  })
  await check('delete the topic', async () => {
    await admin.deleteTopics({ topics: [topic] })
    expect(!(await admin.listTopics()).includes(topic), 'the topic is still there')
  })
  await admin.disconnect()
  process.exit(failed ? 1 : 0)
}

main()
