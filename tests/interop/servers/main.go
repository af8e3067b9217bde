// The answering program on Go's net/http/fcgi: `main SOCKET`. What it does with a request stands in ../server.py.
package main

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

type countingListener struct {
	net.Listener
	accepted int64
}

func (listener *countingListener) Accept() (net.Conn, error) {
	conn, err := listener.Listener.Accept()
	if err == nil {
		atomic.AddInt64(&listener.accepted, 1)
	}
	return conn, err
}

// How many requests have come, for those that wait for others.
type arrivals struct {
	mutex   sync.Mutex
	changed *sync.Cond
	count   int
}

func (a *arrivals) arrive(wanted int) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.count++
	a.changed.Broadcast()
	for a.count < wanted {
		a.changed.Wait()
	}
}

func main() {
	inner, err := net.Listen("unix", os.Args[1])
	if err != nil {
		panic(err)
	}
	listener := &countingListener{Listener: inner}
	come := &arrivals{}
	come.changed = sync.NewCond(&come.mutex)
	panic(fcgi.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		number := func(name string, otherwise int) int {
			if value, err := strconv.Atoi(query.Get(name)); err == nil {
				return value
			}
			return otherwise
		}
		sum := md5.New()
		received, _ := io.Copy(sum, r.Body)
		come.arrive(number("together", 0))
		time.Sleep(time.Duration(number("ms", 0)) * time.Millisecond)
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("X-Name", query.Get("name"))
		w.Header().Set("X-Received", fmt.Sprintf("%d %x", received, sum.Sum(nil)))
		w.Header().Set("X-Accepted", strconv.FormatInt(atomic.LoadInt64(&listener.accepted), 10))
		w.WriteHeader(number("status", 200))
		w.Write(bytes.Repeat([]byte("x"), number("size", 0)))
	})))
}
