//! The records of Kafka's internal topics, release 4.3, each as `number name flexible-from fields`; see `super` for how
//! fields are written. The facts are those of Kafka's message definitions.

/// `__cluster_metadata`, by the type in a record's frame.
pub(super) const METADATA: &[&str] = &[
    "0 RegisterBrokerRecord 0 brokerId:int32 isMigratingZkBroker:bool/2+ incarnationId:uuid brokerEpoch:int64 endPoints:[]{name:string host:string port:uint16 securityProtocol:int16} features:[]{name:string minSupportedVersion:int16 maxSupportedVersion:int16} rack:string fenced:bool inControlledShutdown:bool/1+ logDirs:[]uuid/3+@0 cordonedLogDirs:[]uuid/4+@1",
    "1 UnregisterBrokerRecord 0 brokerId:int32 brokerEpoch:int64",
    "2 TopicRecord 0 name:string topicId:uuid",
    "3 PartitionRecord 0 partitionId:int32 topicId:uuid replicas:[]int32 isr:[]int32 removingReplicas:[]int32 addingReplicas:[]int32 leader:int32 leaderRecoveryState:int8@0 leaderEpoch:int32 partitionEpoch:int32 directories:[]uuid/1+ eligibleLeaderReplicas:[]int32/2+@1 lastKnownElr:[]int32/2+@2",
    "4 ConfigRecord 0 resourceType:int8 resourceName:string name:string value:string",
    "5 PartitionChangeRecord 0 partitionId:int32 topicId:uuid isr:[]int32@0 leader:int32@1 replicas:[]int32@2 removingReplicas:[]int32@3 addingReplicas:[]int32@4 leaderRecoveryState:int8@5 directories:[]uuid/1+@8 eligibleLeaderReplicas:[]int32/2+@6 lastKnownElr:[]int32/2+@7",
    "7 FenceBrokerRecord 0 id:int32 epoch:int64",
    "8 UnfenceBrokerRecord 0 id:int32 epoch:int64",
    "9 RemoveTopicRecord 0 topicId:uuid",
    "10 DelegationTokenRecord 0 owner:string requester:string renewers:[]string issueTimestamp:int64 maxTimestamp:int64 expirationTimestamp:int64 tokenId:string",
    "11 UserScramCredentialRecord 0 name:string mechanism:int8 salt:bytes storedKey:bytes serverKey:bytes iterations:int32",
    "12 FeatureLevelRecord 0 name:string featureLevel:int16",
    "14 ClientQuotaRecord 0 entity:[]{entityType:string entityName:string} key:string value:float64 remove:bool",
    "15 ProducerIdsRecord 0 brokerId:int32 brokerEpoch:int64 nextProducerId:int64",
    "17 BrokerRegistrationChangeRecord 0 brokerId:int32 brokerEpoch:int64 fenced:int8@0 inControlledShutdown:int8/1+@1 logDirs:[]uuid/2+@2 cordonedLogDirs:[]uuid/3+@3",
    "18 AccessControlEntryRecord 0 id:uuid resourceType:int8 resourceName:string patternType:int8 principal:string host:string operation:int8 permissionType:int8",
    "19 RemoveAccessControlEntryRecord 0 id:uuid",
    "20 NoOpRecord 0",
    "21 ZkMigrationStateRecord 0 zkMigrationState:int8",
    "22 RemoveUserScramCredentialRecord 0 name:string mechanism:int8",
    "23 BeginTransactionRecord 0 name:string@0",
    "24 EndTransactionRecord 0",
    "25 AbortTransactionRecord 0 reason:string@0",
    "26 RemoveDelegationTokenRecord 0 tokenId:string",
    "27 RegisterControllerRecord 0 controllerId:int32 incarnationId:uuid zkMigrationReady:bool endPoints:[]{name:string host:string port:uint16 securityProtocol:int16} features:[]{name:string minSupportedVersion:int16 maxSupportedVersion:int16}",
    "28 ClearElrRecord 0 topicName:string",
];

/// `@metadata` of Kafka 2.8, the preview of KRaft: frame version 0, and mostly without compact lengths.
pub(super) const METADATA_2_8: &[&str] = &[
    "0 RegisterBrokerRecord - brokerId:int32 incarnationId:uuid brokerEpoch:int64 endPoints:[]{name:string host:string port:uint16 securityProtocol:int16} features:[]{name:string minSupportedVersion:int16 maxSupportedVersion:int16} rack:string",
    "1 UnregisterBrokerRecord - brokerId:int32 brokerEpoch:int64",
    "2 TopicRecord - name:string topicId:uuid",
    "3 PartitionRecord - partitionId:int32 topicId:uuid replicas:[]int32 isr:[]int32 removingReplicas:[]int32 addingReplicas:[]int32 leader:int32 leaderEpoch:int32 partitionEpoch:int32",
    "4 ConfigRecord - resourceType:int8 resourceName:string name:string value:string",
    "5 PartitionChangeRecord 0 partitionId:int32 topicId:uuid isr:[]int32@0 leader:int32@1",
    "6 AccessControlRecord 0 resourceType:int8 resourceName:string patternType:int8 principal:string host:string operation:int8 permissionType:int8",
    "7 FenceBrokerRecord - id:int32 epoch:int64",
    "8 UnfenceBrokerRecord - id:int32 epoch:int64",
    "9 RemoveTopicRecord - topicId:uuid",
    "10 DelegationTokenRecord - owner:string renewers:[]string issueTimestamp:int64 maxTimestamp:int64 expirationTimestamp:int64 tokenId:string",
    "11 UserScramCredentialRecord - name:string credentialInfos:[]{mechanism:int8 salt:bytes saltedPassword:bytes iterations:int32}",
    "12 FeatureLevelRecord - name:string minFeatureLevel:int16 maxFeatureLevel:int16",
    "14 QuotaRecord - entity:[]{entityType:string entityName:string} key:string value:float64 remove:bool",
];

/// `__consumer_offsets`, by the number a key begins with: key, then value.
pub(super) const OFFSETS: &[&str] = &[
    "0 LegacyOffsetCommitKey - group:string topic:string partition:int32",
    "0 LegacyOffsetCommitValue - offset:int64 metadata:string commitTimestamp:int64",
    "1 OffsetCommitKey - group:string topic:string partition:int32",
    "1 OffsetCommitValue 4 offset:int64 leaderEpoch:int32/3+ metadata:string commitTimestamp:int64 expireTimestamp:int64/1 topicId:uuid/4+@0",
    "2 GroupMetadataKey - group:string",
    "2 GroupMetadataValue 4 protocolType:string generation:int32 protocol:string leader:string currentStateTimestamp:int64/2+ members:[]{memberId:string groupInstanceId:string/3+ clientId:string clientHost:string rebalanceTimeout:int32/1+ sessionTimeout:int32 subscription:bytes assignment:bytes}",
    "3 ConsumerGroupMetadataKey - groupId:string",
    "3 ConsumerGroupMetadataValue 0 epoch:int32 metadataHash:int64@0",
    "4 ConsumerGroupPartitionMetadataKey - groupId:string",
    "4 ConsumerGroupPartitionMetadataValue 0 topics:[]{topicId:uuid topicName:string numPartitions:int32 partitionMetadata:[]{partition:int32 racks:[]string}}",
    "5 ConsumerGroupMemberMetadataKey - groupId:string memberId:string",
    "5 ConsumerGroupMemberMetadataValue 0 instanceId:string rackId:string clientId:string clientHost:string subscribedTopicNames:[]string subscribedTopicRegex:string rebalanceTimeoutMs:int32 serverAssignor:string classicMemberMetadata:{sessionTimeoutMs:int32 supportedProtocols:[]{name:string metadata:bytes}}?@0",
    "6 ConsumerGroupTargetAssignmentMetadataKey - groupId:string",
    "6 ConsumerGroupTargetAssignmentMetadataValue 0 assignmentEpoch:int32 assignmentTimestamp:int64@0",
    "7 ConsumerGroupTargetAssignmentMemberKey - groupId:string memberId:string",
    "7 ConsumerGroupTargetAssignmentMemberValue 0 topicPartitions:[]{topicId:uuid partitions:[]int32}",
    "8 ConsumerGroupCurrentMemberAssignmentKey - groupId:string memberId:string",
    "8 ConsumerGroupCurrentMemberAssignmentValue 0 memberEpoch:int32 previousMemberEpoch:int32 state:int8 assignedPartitions:[]{topicId:uuid partitions:[]int32 assignmentEpochs:[]int32@0} partitionsPendingRevocation:[]{topicId:uuid partitions:[]int32 assignmentEpochs:[]int32@0}",
    "10 ShareGroupMemberMetadataKey - groupId:string memberId:string",
    "10 ShareGroupMemberMetadataValue 0 rackId:string clientId:string clientHost:string subscribedTopicNames:[]string",
    "11 ShareGroupMetadataKey - groupId:string",
    "11 ShareGroupMetadataValue 0 epoch:int32 metadataHash:int64",
    "12 ShareGroupTargetAssignmentMetadataKey - groupId:string",
    "12 ShareGroupTargetAssignmentMetadataValue 0 assignmentEpoch:int32 assignmentTimestamp:int64@0",
    "13 ShareGroupTargetAssignmentMemberKey - groupId:string memberId:string",
    "13 ShareGroupTargetAssignmentMemberValue 0 topicPartitions:[]{topicId:uuid partitions:[]int32}",
    "14 ShareGroupCurrentMemberAssignmentKey - groupId:string memberId:string",
    "14 ShareGroupCurrentMemberAssignmentValue 0 memberEpoch:int32 previousMemberEpoch:int32 state:int8 assignedPartitions:[]{topicId:uuid partitions:[]int32}",
    "15 ShareGroupStatePartitionMetadataKey - groupId:string",
    "15 ShareGroupStatePartitionMetadataValue 0 initializingTopics:[]{topicId:uuid topicName:string partitions:[]int32} initializedTopics:[]{topicId:uuid topicName:string partitions:[]int32} deletingTopics:[]{topicId:uuid topicName:string}",
    "16 ConsumerGroupRegularExpressionKey - groupId:string regularExpression:string",
    "16 ConsumerGroupRegularExpressionValue 0 topics:[]string version:int64 timestamp:int64",
    "17 StreamsGroupMetadataKey - groupId:string",
    "17 StreamsGroupMetadataValue 0 epoch:int32 metadataHash:int64 validatedTopologyEpoch:int32@0 lastAssignmentConfigs:[]{key:string value:string}@1",
    "19 StreamsGroupMemberMetadataKey - groupId:string memberId:string",
    "19 StreamsGroupMemberMetadataValue 0 instanceId:string rackId:string clientId:string clientHost:string rebalanceTimeoutMs:int32 topologyEpoch:int32 processId:string userEndpoint:{host:string port:uint16}? clientTags:[]{key:string value:string}",
    "20 StreamsGroupTargetAssignmentMetadataKey - groupId:string",
    "20 StreamsGroupTargetAssignmentMetadataValue 0 assignmentEpoch:int32 assignmentTimestamp:int64@0",
    "21 StreamsGroupTargetAssignmentMemberKey - groupId:string memberId:string",
    "21 StreamsGroupTargetAssignmentMemberValue 0 activeTasks:[]{subtopologyId:string partitions:[]int32} standbyTasks:[]{subtopologyId:string partitions:[]int32} warmupTasks:[]{subtopologyId:string partitions:[]int32}",
    "22 StreamsGroupCurrentMemberAssignmentKey - groupId:string memberId:string",
    "22 StreamsGroupCurrentMemberAssignmentValue 0 memberEpoch:int32 previousMemberEpoch:int32 state:int8 activeTasks:[]{subtopologyId:string partitions:[]int32 assignmentEpochs:[]int32@0} standbyTasks:[]{subtopologyId:string partitions:[]int32 assignmentEpochs:[]int32@0} warmupTasks:[]{subtopologyId:string partitions:[]int32 assignmentEpochs:[]int32@0} activeTasksPendingRevocation:[]{subtopologyId:string partitions:[]int32 assignmentEpochs:[]int32@0} standbyTasksPendingRevocation:[]{subtopologyId:string partitions:[]int32 assignmentEpochs:[]int32@0} warmupTasksPendingRevocation:[]{subtopologyId:string partitions:[]int32 assignmentEpochs:[]int32@0}",
    "23 StreamsGroupTopologyKey - groupId:string",
    "23 StreamsGroupTopologyValue 0 epoch:int32 subtopologies:[]{subtopologyId:string sourceTopics:[]string sourceTopicRegex:[]string stateChangelogTopics:[]{name:string partitions:int32 replicationFactor:int16 topicConfigs:[]{key:string value:string}} repartitionSinkTopics:[]string repartitionSourceTopics:[]{name:string partitions:int32 replicationFactor:int16 topicConfigs:[]{key:string value:string}} copartitionGroups:[]{sourceTopics:[]int16 sourceTopicRegex:[]int16 repartitionSourceTopics:[]int16}}",
];

/// `__transaction_state`.
pub(super) const TRANSACTIONS: &[&str] = &[
    "0 TransactionLogKey - transactionalId:string",
    "0 TransactionLogValue 1 producerId:int64 previousProducerId:int64/1+@0 nextProducerId:int64/1+@1 producerEpoch:int16 nextProducerEpoch:int16/1+@3 transactionTimeoutMs:int32 transactionStatus:int8 transactionPartitions:[]{topic:string partitionIds:[]int32} transactionLastUpdateTimestampMs:int64 transactionStartTimestampMs:int64 clientTransactionVersion:int16/1+@2",
];

/// `__share_group_state`.
pub(super) const SHARE: &[&str] = &[
    "0 ShareSnapshotKey - groupId:string topicId:uuid partition:int32",
    "0 ShareSnapshotValue 0 snapshotEpoch:int32 stateEpoch:int32 leaderEpoch:int32 startOffset:int64 deliveryCompleteCount:int32@0 createTimestamp:int64 writeTimestamp:int64 stateBatches:[]{firstOffset:int64 lastOffset:int64 deliveryState:int8 deliveryCount:int16}",
    "1 ShareUpdateKey - groupId:string topicId:uuid partition:int32",
    "1 ShareUpdateValue 0 snapshotEpoch:int32 leaderEpoch:int32 startOffset:int64 deliveryCompleteCount:int32@0 stateBatches:[]{firstOffset:int64 lastOffset:int64 deliveryState:int8 deliveryCount:int16}",
];
