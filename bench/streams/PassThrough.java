import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;

/** Kafka Streams doing what riffle does with window = none: each record of one topic to another, at least once. */
public final class PassThrough {
	public static void main(String[] args) throws Exception {
		Properties p = new Properties();
		p.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
		p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
		p.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
		p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
		p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
		p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
		p.put("auto.offset.reset", "earliest");
		p.put("max.poll.records", 10000);
		p.put("fetch.max.bytes", 64 << 20);
		p.put("max.partition.fetch.bytes", 8 << 20);
		p.put("linger.ms", 5);
		p.put("batch.size", 1000000);
		p.put("buffer.memory", 128 << 20);
		p.put("max.request.size", 4 << 20);
		p.put("buffered.records.per.partition", 20000);
		StreamsBuilder b = new StreamsBuilder();
		b.stream(args[1]).to(args[2]);
		KafkaStreams streams = new KafkaStreams(b.build(), p);
		Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
		streams.start();
		Thread.sleep(Long.MAX_VALUE);
	}
}
