// The second foreign client: Node's grpc-js with the .proto files.
//
// usage: second.js unix:PATH PROTO_DIRECTORY
'use strict'
const grpc = require('@grpc/grpc-js')
const loader = require('@grpc/proto-loader')

const [address, protos] = process.argv.slice(2)
const definition = loader.loadSync('brig/v1/execution_service.proto', {
  includeDirs: [protos],
  keepCase: true,
  enums: String,
  longs: Number,
  oneofs: true
})
const { ExecutionService } = grpc.loadPackageDefinition(definition).brig.v1
const client = new ExecutionService(address, grpc.credentials.createInsecure(), { 'grpc.default_authority': 'localhost' })

const code = Buffer.from('import sys\nprint("output", 6 * 7)\nprint("error", file=sys.stderr)\n1 / 0\n')
const stream = client.execute({ spec: { program: { python: { code: { inline: code } } } } }, { deadline: Date.now() + 60000 })
const output = { OUTPUT_STREAM_STDOUT: '', OUTPUT_STREAM_STDERR: '' }
stream.on('data', ({ event }) => {
  console.log('event', event.seq, event.body)
  if (event.body === 'output') output[event.output.stream] += event.output.data.toString()
  if (event.body === 'ended') {
    const { outcome } = event.ended.job
    console.log('verdict', outcome.verdict.kind, outcome.verdict.code)
    console.log('exception', outcome.exception && outcome.exception.name)
  }
})
stream.on('error', error => { console.log('failed', error.code, error.details); process.exitCode = 1 })
stream.on('end', () => {
  console.log('stdout', JSON.stringify(output.OUTPUT_STREAM_STDOUT))
  console.log('stderr', JSON.stringify(output.OUTPUT_STREAM_STDERR.split('\n').slice(0, 1)))
  client.close()
})
