// Command kubernetes is every part of a Kubernetes node and its control plane in one static program: which part it is, its
// first argument says. One link instead of six is what makes a cold build bearable; nothing is configured here but
// etcd, which has no command line of its own when it is embedded.
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	// Registers the client's and the build's metrics, which the components expect to be there.
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

var parts = map[string]func() *cobra.Command{
	"etcd":                    store,
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
}

func main() {
	if len(os.Args) > 1 {
		if part, known := parts[os.Args[1]]; known {
			// Each part reads the command line as if it had a program of its own.
			os.Args = os.Args[1:]
			os.Exit(cli.Run(part()))
		}
	}
	names := make([]string, 0, len(parts))
	for name := range parts {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Fprintf(os.Stderr, "usage: kubernetes %s [FLAGS]\n", strings.Join(names, "|"))
	os.Exit(2)
}

// store is one etcd for one short-lived cluster: it answers on loopback alone and may lose everything when power fails.
func store() *cobra.Command {
	var directory string
	command := &cobra.Command{
		Use:          "etcd --data-dir DIRECTORY",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			clients := url.URL{Scheme: "http", Host: "127.0.0.1:2379"}
			peers := url.URL{Scheme: "http", Host: "127.0.0.1:2380"}
			config := embed.NewConfig()
			config.Dir = directory
			config.LogLevel = "warn"
			config.UnsafeNoFsync = true
			config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{clients}, []url.URL{clients}
			config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peers}, []url.URL{peers}
			config.InitialCluster = config.InitialClusterFromName(config.Name)
			server, err := embed.StartEtcd(config)
			if err != nil {
				return err
			}
			defer server.Close()
			stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer cancel()
			select {
			case err := <-server.Err():
				return err
			case <-stop.Done():
				return nil
			}
		},
	}
	command.Flags().StringVar(&directory, "data-dir", "", "where the data is kept")
	if err := command.MarkFlagRequired("data-dir"); err != nil {
		panic(err)
	}
	return command
}
