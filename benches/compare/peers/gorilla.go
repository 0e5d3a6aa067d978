// The Go package gorilla/websocket as a relay: every message to every client, its sender included.
//
//	peer-gorilla PORT [deflate | tls]
//
// As its chat example does: a goroutine to read and one to write for each client, a channel
// between. A message is encoded once (PreparedMessage), which its documentation recommends for a
// broadcast. Each frame is one write: the package has no call to join the frames that wait for one
// client.
//
// deflate: compressed once for all clients, by PreparedMessage.
// tls: with cert.pem and key.pem of the working directory.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/gorilla/websocket"
)

// Messages that may wait for a client before it is dropped. The chat example has 256; a channel
// allocates its memory at once, eight bytes for each.
const queueMessages = 1024

type client struct {
	conn *websocket.Conn
	send chan *websocket.PreparedMessage
}

type hub struct {
	mu      sync.RWMutex
	clients map[*client]struct{}
}

func (h *hub) add(c *client) {
	h.mu.Lock()
	h.clients[c] = struct{}{}
	h.mu.Unlock()
}

func (h *hub) remove(c *client) {
	h.mu.Lock()
	if _, ok := h.clients[c]; ok {
		delete(h.clients, c)
		close(c.send)
	}
	h.mu.Unlock()
}

func (h *hub) broadcast(message *websocket.PreparedMessage) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for c := range h.clients {
		select {
		case c.send <- message:
		default:
			c.conn.Close()
		}
	}
}

func (c *client) write() {
	defer c.conn.Close()
	for message := range c.send {
		if c.conn.WritePreparedMessage(message) != nil {
			return
		}
	}
}

func (c *client) read(h *hub) {
	defer h.remove(c)
	for {
		kind, data, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		message, err := websocket.NewPreparedMessage(kind, data)
		if err != nil {
			return
		}
		h.broadcast(message)
	}
}

func main() {
	port, extra := "0", ""
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	if len(os.Args) > 2 {
		extra = os.Args[2]
	}
	upgrader := websocket.Upgrader{
		EnableCompression: extra == "deflate",
		CheckOrigin:       func(*http.Request) bool { return true },
	}
	h := &hub{clients: map[*client]struct{}{}}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		c := &client{conn: conn, send: make(chan *websocket.PreparedMessage, queueMessages)}
		h.add(c)
		go c.write()
		c.read(h)
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr())
	if extra == "tls" {
		log.Fatal(server.ServeTLS(listener, "cert.pem", "key.pem"))
	}
	log.Fatal(server.Serve(listener))
}
