package twilio
import ("testing";"runtime";"fmt";"time")
func TestBig(t *testing.T){
 s:=time.Now(); var m runtime.MemStats; var peak uint64; n:=0
 st,err:=Decode(&pages{n:1000000},func(*Resource)error{ n++; if n%100000==0 {runtime.ReadMemStats(&m); peak=max(peak,m.HeapInuse)}; return nil})
 fmt.Println(st,err,time.Since(s),peak)
}
