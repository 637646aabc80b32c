package tls
import ("testing";"math/rand/v2";"time";"slices")
func TestDbg(t *testing.T){
 hello := clientFlight(t, &clientConfig)
 t.Log(len(hello))
 worst:=time.Duration(0); n:=0
 start:=time.Now()
 for time.Since(start) < 3*time.Second {
  b:=slices.Clone(hello)
  for range rand.IntN(5)+1 { b[rand.IntN(len(b))]=byte(rand.IntN(256)) }
  at:=time.Now()
  var p Parser
  size:=rand.IntN(256)+1; gap:=rand.IntN(256)
  for i:=0;i<len(b);i+=size { p.Feed(b[i:min(i+size,len(b))]); drain(&p); if gap>0&&i/size==gap%16 {p.Lost(int64(gap)-1);drain(&p)} }
  p.Finish(); drain(&p)
  worst=max(worst,time.Since(at)); n++
 }
 t.Log(n, worst)
}
