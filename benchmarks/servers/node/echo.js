// An echo server on the package `ws` of Node: it prints its port, and ends with its stdin.
const { WebSocketServer } = require('ws')

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false, backlog: 4096 })
server.on('listening', () => console.log(server.address().port))
server.on('connection', socket => {
  socket.on('message', data => {
    const call = JSON.parse(data)
    socket.send(JSON.stringify({ id: call.id, type: 'result', payload: call.payload[0] }))
  })
})
process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
