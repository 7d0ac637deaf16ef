package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const partitions = 6

var ctx = context.Background()

// Produces to a topic of its own, and consumes from it in a group of two, until the second line of input; then says whether anything
// was to be noticed of what happened to the brokers meanwhile. Record n of a partition has the value n.
type ride struct {
	bootstrap, topic, group string
	producing, consuming    atomic.Bool

	mutex        sync.Mutex
	errors       []string                  // what an application would have had to handle
	acknowledged [partitions]map[int]int64 // the offset of each
	read         [partitions][]*kgo.Record // in their order
	sent         [partitions]int
	longest      time.Duration
	wrong        bool
}

func main() {
	r := &ride{bootstrap: os.Args[1], topic: os.Args[2] + "-ride", group: os.Args[2] + "-riders"}
	for p := range r.acknowledged {
		r.acknowledged[p] = map[int]int64{}
	}
	if err := r.run(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if r.wrong {
		os.Exit(1)
	}
}

func (r *ride) check(what string, body func() error) {
	if err := body(); err != nil {
		r.wrong = true
		fmt.Printf("FAIL %s %s: %v\n", os.Args[3], what, err)
		return
	}
	fmt.Printf("ok %s %s\n", os.Args[3], what)
}

func (r *ride) run() error {
	admin := kadm.NewClient(r.open())
	if _, err := admin.CreateTopic(ctx, partitions, 3, nil, r.topic); err != nil {
		return err
	}
	r.producing.Store(true)
	r.consuming.Store(true)
	members := []*rider{r.join(), r.join()}
	err := waitFor("two members do not share the partitions", func() bool {
		return members[0].assigned.Load() == partitions/2 && members[1].assigned.Load() == partitions/2
	})
	if err != nil {
		return err
	}
	changes := members[0].changes.Load() + members[1].changes.Load()
	produced := make(chan struct{})
	go func() {
		r.produce()
		close(produced)
	}()
	if err := waitFor("nothing is read", func() bool { return r.count() > 10*partitions }); err != nil {
		return err
	}
	fmt.Println("riding")
	// From the first line on, a broker dies at once. If the coordinator cannot be called before another broker has taken its place,
	// this client gives its place in the group up and joins again: that is told to the application, which may read a record twice.
	lines := bufio.NewReader(os.Stdin)
	lines.ReadString('\n')
	r.mutex.Lock()
	errorsSoFar := slices.Clone(r.errors)
	r.mutex.Unlock()
	changesSoFar := members[0].changes.Load() + members[1].changes.Load()
	lines.ReadString('\n')
	r.producing.Store(false)
	<-produced
	total, acknowledged := 0, 0
	for p := range r.sent {
		total += r.sent[p]
		acknowledged += len(r.acknowledged[p])
	}
	r.check(fmt.Sprintf("no send failed of %d, the longest took %d ms", total, r.longest.Milliseconds()), func() error {
		if acknowledged != total || r.longest > 30*time.Second {
			return fmt.Errorf("%d were acknowledged; %v", acknowledged, r.errors)
		}
		return nil
	})
	r.check("every acknowledged record is read once, in order, at its offset", func() error {
		if err := waitFor("not all are read", r.isAtEnds); err != nil {
			return fmt.Errorf("%d of %d: %w", r.count(), total, err)
		}
		return r.compare()
	})
	r.consuming.Store(false)
	for _, m := range members {
		<-m.done
	}
	r.check("no poll and no commit failed", func() error {
		for _, err := range r.errors[len(errorsSoFar):] {
			if !strings.Contains(err, "unable to join group session") {
				return errors.New(err)
			}
		}
		if len(errorsSoFar) > 0 {
			return fmt.Errorf("%v", errorsSoFar)
		}
		return nil
	})
	r.check("no rebalance, as no member came or went, before the crash", func() error {
		if changesSoFar != changes {
			return fmt.Errorf("%d changes", changesSoFar-changes)
		}
		return nil
	})
	r.check("committed offsets are those of the ends", func() error {
		committed, err := admin.FetchOffsets(ctx, r.group)
		for p := range r.sent {
			if at, _ := committed.Lookup(r.topic, int32(p)); err == nil && at.At != int64(r.sent[p]) {
				err = fmt.Errorf("partition %d: %d, not %d", p, at.At, r.sent[p])
			}
		}
		return err
	})
	return nil
}

func (r *ride) open(options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(strings.Split(r.bootstrap, ",")...))...)
	if err != nil {
		panic(err)
	}
	return client
}

func waitFor(what string, condition func() bool) error {
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New(what + " (waited 30 s)")
		}
	}
	return nil
}

func (r *ride) count() (total int) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, records := range r.read {
		total += len(records)
	}
	return total
}

func (r *ride) isAtEnds() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for p, records := range r.read {
		if len(records) == 0 || records[len(records)-1].Offset != r.acknowledged[p][r.sent[p]-1] {
			return false
		}
	}
	return true
}

func (r *ride) compare() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for p, records := range r.read {
		if r.rejoined() {
			// What was read before it could be committed is read again, and in order, too.
			var kept []*kgo.Record
			for _, record := range records {
				if len(kept) == 0 || record.Offset > kept[len(kept)-1].Offset {
					kept = append(kept, record)
				}
			}
			records = kept
		}
		if len(records) != r.sent[p] {
			return fmt.Errorf("partition %d has %d of %d", p, len(records), r.sent[p])
		}
		for n, record := range records {
			if string(record.Value) != strconv.Itoa(n) {
				return fmt.Errorf("record %d of partition %d is %s", n, p, record.Value)
			}
			if at := r.acknowledged[p][n]; at != record.Offset {
				return fmt.Errorf("record %d of partition %d was acknowledged at %d, read at %d", n, p, at, record.Offset)
			}
		}
	}
	return nil
}

func (r *ride) rejoined() bool {
	return slices.ContainsFunc(r.errors, func(err string) bool { return strings.Contains(err, "unable to join group session") })
}

func (r *ride) failed(what string, err error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.errors = append(r.errors, fmt.Sprintf("%s: %v", what, err))
}

func (r *ride) produce() {
	client := r.open(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(2*time.Millisecond))
	defer client.Close()
	for i := 0; r.producing.Load(); i++ {
		p := i % partitions
		n, start := r.sent[p], time.Now()
		r.sent[p]++
		record := &kgo.Record{Topic: r.topic, Partition: int32(p), Value: []byte(strconv.Itoa(n))}
		client.Produce(ctx, record, func(record *kgo.Record, err error) {
			if err != nil {
				r.failed("send", err)
				return
			}
			r.mutex.Lock()
			defer r.mutex.Unlock()
			r.longest = max(r.longest, time.Since(start))
			r.acknowledged[p][n] = record.Offset
		})
		if p == partitions-1 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := client.Flush(limited); err != nil {
		r.failed("flush", err)
	}
}

type rider struct {
	assigned, changes atomic.Int32
	done              chan struct{}
}

func (r *ride) join() *rider {
	m := &rider{done: make(chan struct{})}
	change := func(sign int32) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, moved map[string][]int32) {
			// It is called with nothing after each session.
			if count := int32(len(moved[r.topic])); count > 0 && r.consuming.Load() {
				m.assigned.Add(sign * count)
				m.changes.Add(1)
			}
		}
	}
	client := r.open(kgo.ConsumerGroup(r.group), kgo.ConsumeTopics(r.topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(change(1)), kgo.OnPartitionsRevoked(change(-1)), kgo.OnPartitionsLost(change(-1)))
	go func() {
		defer close(m.done)
		defer client.Close()
		for r.consuming.Load() {
			r.poll(client)
		}
	}()
	return m
}

func (r *ride) poll(client *kgo.Client) {
	limited, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	fetches := client.PollFetches(limited)
	fetches.EachError(func(_ string, _ int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) {
			r.failed("poll", err)
		}
	})
	if fetches.NumRecords() == 0 {
		return
	}
	r.mutex.Lock()
	fetches.EachRecord(func(record *kgo.Record) { r.read[record.Partition] = append(r.read[record.Partition], record) })
	r.mutex.Unlock()
	// A commit to a coordinator that has just stopped listening is not tried again by franz-go, but by its application.
	err := client.CommitUncommittedOffsets(ctx)
	for try := 0; try < 20 && err != nil && strings.Contains(err.Error(), "connection refused"); try++ {
		time.Sleep(50 * time.Millisecond)
		err = client.CommitUncommittedOffsets(ctx)
	}
	if err != nil {
		r.failed("commit", err)
	}
}
