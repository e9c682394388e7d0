package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/fieldseal/fieldseal/bridge"
	"github.com/fieldseal/fieldseal/configs"
)

// settled is how long the folders have to be quiet before their files are read
// again: an editor, or a checkout, writes several.
const settled = time.Second

// reloader reads the configuration again when it is told to, or when a folder of
// it changes.
type reloader struct {
	gateway *bridge.Gateway
	file    string
	stderr  io.Writer
	logger  *slog.Logger
}

// start begins to listen for SIGHUP and to watch the folders. What it gives ends
// that, and waits for a reload in progress.
func (r *reloader) start(folders []string) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	watcher := r.watchFolders(folders)
	go func() {
		defer close(done)
		r.run(ctx, hangups, watcher)
	}()
	return func() {
		signal.Stop(hangups)
		cancel()
		<-done
		if watcher != nil {
			_ = watcher.Close()
		}
	}
}

// watchFolders watches those that it can; nil where there are none.
func (r *reloader) watchFolders(folders []string) *fsnotify.Watcher {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		r.logger.Warn("the configuration's folders cannot be watched; SIGHUP reads it again", "error", err)
		return nil
	}
	for _, f := range folders {
		if err := w.Add(f); err != nil {
			r.logger.Warn("a folder of the configuration cannot be watched; SIGHUP reads it again", "folder", f, "error", err)
		}
	}
	return w
}

func (r *reloader) run(ctx context.Context, hangups <-chan os.Signal, w *fsnotify.Watcher) {
	var events chan fsnotify.Event
	var errs chan error
	if w != nil {
		events, errs = w.Events, w.Errors
	}
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			r.reload("SIGHUP", true)
		case e := <-events:
			if e.Op != fsnotify.Chmod {
				quiet.Reset(settled)
			}
		case err := <-errs: // too many at once: something has changed
			r.logger.Warn("a change of the configuration's folders may have gone unseen", "error", err)
			quiet.Reset(settled)
		case <-quiet.C:
			r.reload("a folder of the configuration changed", false)
		}
	}
}

// reload reads the files and puts them in force, or says why not.
func (r *reloader) reload(why string, asked bool) {
	l, err := load(r.file, nil)
	if err != nil {
		r.logger.Error("the configuration cannot be read again; the running one stays", "error", configs.Plain(err.Error()))
		return
	}
	if asked || l.config == nil {
		r.logger.Info("reading the configuration again", "because", why)
	}
	_ = report(r.stderr, l.problems, false)
	_ = r.gateway.Reload(l.config, l.problems) // it says in the log and in status what came of it
}
